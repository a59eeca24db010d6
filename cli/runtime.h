#pragma once
// Threads and device, set once before a command runs.
#include "cli/command.h"

namespace m2bert::cli {

// Applies --threads and --device. Error if --device gpu has no GPU.
void set_up_runtime(const Globals& globals);

}  // namespace m2bert::cli
