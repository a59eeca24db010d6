// m2bert report: the curves of runs as a page.
#include "m2bert/train/report.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/output_path.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/json.h"

namespace m2bert::cli {
namespace {

struct ReportCommand {
  std::vector<std::string> runs;
  std::string output = "report.html", along = "batch";
  bool overwrite = false;
};

optim::TimeUnit unit_named(const std::string& name) {
  return name == "sample" ? optim::TimeUnit::sample : name == "token" ? optim::TimeUnit::token : optim::TimeUnit::batch;
}

void run_report(const ReportCommand& command, const Globals& globals) {
  require_free(command.output, command.overwrite || train::is_report(command.output));
  require_not_read(command.output, command.runs);
  std::vector<train::ReportedRun> runs;
  io::Tree list = io::Tree::list();
  for (const auto& path : command.runs) {
    runs.push_back(train::read_run(path));
    const auto& run = runs.back();
    list.push_back({{"name", run.name}, {"records", run.records.size()}, {"batches", run.records.back().time.batch}});
  }
  train::ReportOptions options;
  options.along = unit_named(command.along);
  io::write_file(command.output, train::report_html(runs, options));
  if (globals.json) std::cout << io::to_json(io::Tree{{"output", command.output}, {"runs", list}}) << "\n";
  else if (!globals.quiet) std::cout << command.output << ": " << runs.size() << (runs.size() == 1 ? " run" : " runs") << "\n";
}

}  // namespace

Run report_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<ReportCommand>();
  app.add_option("runs", command->runs, "Folders of runs, or their metrics.jsonl")->required()->type_name("RUN");
  app.add_option("-o,--output", command->output, "HTML file to write")->capture_default_str()->type_name("FILE");
  add_choice(app, "--along", command->along, {"batch", "sample", "token"}, "What the horizontal axis counts")->capture_default_str();
  app.add_flag("--overwrite", command->overwrite, "Replace the output file (a page of this command is redrawn without it)");
  return [command, &globals] { run_report(*command, globals); };
}

}  // namespace m2bert::cli
