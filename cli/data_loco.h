#pragma once
#include "cli/command.h"

namespace m2bert::cli {

// m2bert data loco, a subcommand of data.
Run add_data_loco(CLI::App& data, const Globals& globals);

}  // namespace m2bert::cli
