// m2bert download: downloads a model from Hugging Face's hub into the cache.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "cli/command.h"
#include "m2bert/checkpoint/folder.h"
#include "m2bert/hub/download.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"

namespace m2bert::cli {
namespace {

struct DownloadCommand {
  std::string name, revision;
  hub::Selection selection;
};

hub::ModelName parse_name(const DownloadCommand& command) {
  hub::ModelName name = hub::parse_model_name(command.name);
  if (command.revision.empty()) return name;
  if (command.name.find('@') != std::string::npos)
    throw UsageError("the revision is named twice: by @" + name.revision + " and by --revision");
  hub::check_revision(command.revision);
  name.revision = command.revision;
  return name;
}

io::Tree snapshot_tree(const hub::Snapshot& snapshot) {
  io::Tree files = io::Tree::list();
  uint64_t bytes = 0, fetched = 0;
  for (const hub::File& file : snapshot.files) {
    files.push_back({{"name", file.name}, {"bytes", file.size}, {"etag", file.etag}, {"fetched", file.fetched}});
    bytes += file.size;
    fetched += file.fetched ? file.size : 0;
  }
  return {{"repository", snapshot.repository},
          {"revision", snapshot.revision},
          {"commit", snapshot.commit},
          {"folder", snapshot.folder.string()},
          {"files", files},
          {"bytes", bytes},
          {"bytes_fetched", fetched}};
}

void run_download(const DownloadCommand& command, const Globals& globals) {
  const hub::ModelName name = parse_name(command);
  io::install_interrupt_handlers();
  const hub::Snapshot snapshot = hub::download(name, hub::settings_from_environment(), checkpoint::holds_model, command.selection);
  const io::Tree result = snapshot_tree(snapshot);
  if (globals.json) {
    std::cout << io::to_json(result) << "\n";
    return;
  }
  io::info(name.shown(), ": ", snapshot.files.size(), " files, ", io::show_bytes(result.at("bytes").as<uint64_t>()), ", of which ",
           io::show_bytes(result.at("bytes_fetched").as<uint64_t>()), " were fetched now");
  std::cout << snapshot.folder.string() << "\n";
}

}  // namespace

Run download_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<DownloadCommand>();
  app.add_option("name", command->name, "Model on the hub; @REVISION is a branch, tag or commit (default: main)")
      ->required()
      ->type_name("ORG/NAME[@REVISION]");
  app.add_option("--revision", command->revision, "The same as @REVISION")->type_name("REVISION");
  app.add_option("--include", command->selection.include, "Only files that match, such as '*.pt' (default: those that a model needs)")
      ->type_name("GLOB")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  app.add_option("--exclude", command->selection.exclude, "No files that match")
      ->type_name("GLOB")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  app.add_flag("--all", command->selection.all, "Every file of the repository");
  return [command, &globals] { run_download(*command, globals); };
}

}  // namespace m2bert::cli
