#pragma once
// Which MLX the program computes with on Linux: the CPU library, which it is linked with, or the library of MLX's CUDA wheel, which has the
// same interface. The CUDA library is looked for in lib/m2bert/cuda beside the program's folder, laid out as by `pip install --target`.
#include <string>

#include "cli/command.h"

namespace m2bert::cli {

// Call it before anything of MLX is used. If an NVIDIA GPU can be used, starts the program anew, once, with the CUDA library in
// LD_LIBRARY_PATH; otherwise remembers why not. Does not look for a GPU with --device cpu or with M2BERT_MLX=cpu in the environment. With
// M2BERT_MLX=cuda an unusable GPU is an error, and one is looked for even if there is no /dev/nvidiactl.
void choose_mlx_library(char** argv, const Globals& globals);

// Why the program computes on the processor, as a sentence without a full stop, for when MLX finds no GPU.
std::string why_no_gpu();
// Whether there is an NVIDIA GPU, usable or not.
bool has_nvidia_gpu();

// "cuda", "metal" or "cpu": what the MLX of this process is built for.
const char* mlx_build();

}  // namespace m2bert::cli
