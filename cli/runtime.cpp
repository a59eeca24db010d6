#include "cli/runtime.h"

#include <cstdlib>

#include "m2bert/error.h"
#include "m2bert/io/log.h"
#include "m2bert/memory.h"
#include "m2bert/mx.h"
#include "m2bert/threads.h"
#include "m2bert/train/recipe.h"
#include "m2bert/train/recipe_keys.h"

namespace m2bert::cli {

namespace {

// The environment may hold what --threads would refuse.
void note_thread_limit() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (text && std::atof(text) > 4096) io::warn("OMP_NUM_THREADS=", text, ": m2bert uses at most 4096 threads; it takes ", threads());
}

}  // namespace

void set_up_runtime(const Globals& globals) {
  setenv("MLX_ENABLE_TF32", "0", 0);  // otherwise MLX multiplies float32 on an NVIDIA GPU with 10 bits of mantissa
  keep_freed_memory();
  io::set_quiet(globals.quiet);
  set_threads(globals.threads);
  if (globals.threads == 0) note_thread_limit();
  if (globals.device.empty()) return;
  const mx::Device device = globals.device == "gpu" ? mx::Device::gpu : mx::Device::cpu;
  require(mx::is_available(device), "--device gpu: MLX ", mx::version(),
          " finds no GPU here. Leave --device out, or install MLX with CUDA (Linux) ", "or run on a Mac with Apple silicon.");
  mx::set_default_device(device);
}

void set_device_of(const train::Recipe& recipe, const Globals& globals) {
  if (!globals.device.empty() || recipe.device.empty()) return;
  const mx::Device device = recipe.device == "gpu" ? mx::Device::gpu : mx::Device::cpu;
  require(mx::is_available(device), train::where(recipe.tree, "device"),
          "gpu, but MLX finds no GPU here; device=cpu computes on the processor");
  mx::set_default_device(device);
}

}  // namespace m2bert::cli
