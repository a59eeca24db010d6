#pragma once
// The subcommands of eval, one file each: cli/eval_NAME.cpp. The table in cli/eval.cpp lists them.
#include "cli/command.h"

namespace m2bert::cli {

Run eval_beir(CLI::App& app, const Globals& globals);
Run eval_glue(CLI::App& app, const Globals& globals);
Run eval_loco(CLI::App& app, const Globals& globals);
Run eval_sts(CLI::App& app, const Globals& globals);
Run eval_classification(CLI::App& app, const Globals& globals);
Run eval_clustering(CLI::App& app, const Globals& globals);
Run eval_mlm(CLI::App& app, const Globals& globals);

}  // namespace m2bert::cli
