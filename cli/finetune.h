#pragma once
// The subcommands of m2bert finetune, a file each. Each adds itself to `finetune` and returns what runs it.
#include "cli/command.h"

namespace m2bert::cli {

Run finetune_classify_command(CLI::App& finetune, const Globals& globals);
Run finetune_retrieval_command(CLI::App& finetune, const Globals& globals);
Run finetune_glue_command(CLI::App& finetune, const Globals& globals);

}  // namespace m2bert::cli
