// m2bert download: a model from Hugging Face's hub into the cache.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "cli/command.h"
#include "m2bert/checkpoint/hub.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"

namespace m2bert::cli {
namespace {

struct DownloadCommand {
  std::string name, revision;
  checkpoint::HubSelection selection;
};

checkpoint::HubName wanted_name(const DownloadCommand& command) {
  checkpoint::HubName name = checkpoint::parse_hub_name(command.name);
  if (command.revision.empty()) return name;
  if (command.name.find('@') != std::string::npos)
    throw UsageError("the revision is named twice: by @" + name.revision + " and by --revision");
  checkpoint::check_revision(command.revision);
  name.revision = command.revision;
  return name;
}

io::Tree snapshot_tree(const checkpoint::HubSnapshot& snapshot) {
  io::Tree files = io::Tree::list();
  uint64_t bytes = 0, fetched = 0;
  for (const checkpoint::HubFile& file : snapshot.files) {
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
  const checkpoint::HubName name = wanted_name(command);
  io::install_interrupt_handlers();
  const checkpoint::HubSnapshot snapshot = checkpoint::download(name, checkpoint::hub_settings(), command.selection);
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
