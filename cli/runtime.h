#pragma once
// Threads and device, set once before a command runs.
#include "cli/command.h"

namespace m2bert::train {
struct Recipe;
}

namespace m2bert::cli {

// Applies --threads and --device. Error if --device gpu has no GPU.
void set_up_runtime(const Globals& globals);
// Says so if there is an NVIDIA GPU that is not used, and why; nothing if the option or M2BERT_MLX chooses.
void note_unused_gpu(const Globals& globals);
// What training wants of the GPU, before anything is computed.
void set_up_training();
// Applies the recipe's `device`, unless --device is given. Error if it is gpu and there is none.
void set_device_of(const train::Recipe& recipe, const Globals& globals);

}  // namespace m2bert::cli
