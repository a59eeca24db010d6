// m2bert finetune: trains a model further, for a task.
#include "cli/finetune.h"

#include <CLI/CLI.hpp>
#include <map>

namespace m2bert::cli {

Run finetune_command(CLI::App& app, const Globals& globals) {
  app.require_subcommand(1);
  const std::map<std::string, Run> runs{{"classify", finetune_classify_command(app, globals)},
                                        {"glue", finetune_glue_command(app, globals)},
                                        {"retrieval", finetune_retrieval_command(app, globals)}};
  return [&app, runs] { runs.at(app.get_subcommands().front()->get_name())(); };
}

}  // namespace m2bert::cli
