#include "cli/runtime.h"

#include <cstdlib>

#include "cli/mlx_library.h"
#include "m2bert/error.h"
#include "m2bert/io/log.h"
#include "m2bert/memory.h"
#include "m2bert/mx.h"
#include "m2bert/threads.h"
#include "m2bert/train/recipe.h"
#include "m2bert/train/recipe_keys.h"

namespace m2bert::cli {

namespace {

bool chooses_graph_size = false;

// The environment may hold what --threads would refuse.
void note_thread_limit() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (text && std::atof(text) > 4096) io::warn("OMP_NUM_THREADS=", text, ": m2bert uses at most 4096 threads; it takes ", threads());
}

// Operations that MLX gives to the GPU at once, and millions of elements that they read.
constexpr const char *kGraphSize = "MLX_MAX_OPS_PER_BUFFER", *kGraphBytes = "MLX_MAX_MB_PER_BUFFER";

bool has_gpu() { return mx::is_available(mx::Device::gpu); }

}  // namespace

void set_up_runtime(const Globals& globals) {
  setenv("MLX_ENABLE_TF32", "0", 0);  // otherwise MLX multiplies float32 on an NVIDIA GPU with 10 bits of mantissa
  chooses_graph_size = std::getenv(kGraphSize) == nullptr;
  setenv(kGraphSize, "20", 0);  // the GPU starts while the rest of a pass is still being encoded, and keeps less memory
  io::set_quiet(globals.quiet);
  set_threads(globals.threads);
  if (globals.threads == 0) note_thread_limit();
  if (globals.device == "gpu") {
    require(has_gpu(), "--device gpu: ", why_no_gpu(), ". Without --device the processor computes");
    mx::set_default_device(mx::Device::gpu);
  } else if (globals.device == "cpu" || !has_gpu()) {  // MLX's CUDA library has the GPU as its default even if there is none
    mx::set_default_device(mx::Device::cpu);
  }
  if (mx::default_device() == mx::Device(mx::Device::cpu)) keep_freed_memory();
}

void note_unused_gpu(const Globals& globals) {
  const bool wanted = globals.device.empty() && !std::getenv("M2BERT_MLX");
  if (wanted && has_nvidia_gpu() && !has_gpu()) io::info("the NVIDIA GPU is not used: ", why_no_gpu());
}

// MLX gives a GPU CUDA graphs of so many operations, and waits once ten are under way. A step fills larger ones and gets further ahead. All
// that they read keeps its memory until they end: MLX's own limit of 1000 takes a quarter more, and 400 leaves the GPU waiting now and
// then. MLX reads the variables when it launches its first operation.
void set_up_training() {
  if (chooses_graph_size) setenv(kGraphSize, "60", 1);
  setenv(kGraphBytes, "600", 0);
}

void set_device_of(const train::Recipe& recipe, const Globals& globals) {
  if (!globals.device.empty() || recipe.device.empty()) return;
  const mx::Device device = recipe.device == "gpu" ? mx::Device::gpu : mx::Device::cpu;
  require(mx::is_available(device), train::where(recipe.tree, "device"), "gpu, but ", why_no_gpu(),
          ". device=cpu computes on the processor");
  mx::set_default_device(device);
  if (device == mx::Device::cpu) keep_freed_memory();
}

}  // namespace m2bert::cli
