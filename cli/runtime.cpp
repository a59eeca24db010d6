#include "cli/runtime.h"

#include <cstdlib>
#include <string>
#include <string_view>

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

// The environment may hold what --threads would refuse.
void note_thread_limit() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (text && std::atof(text) > 4096) io::warn("OMP_NUM_THREADS=", text, ": m2bert uses at most 4096 threads; it takes ", threads());
}

// Sets an environment variable unless the user does. A note beside it tells a launched process that its value is not the user's.
void set_unless_given(const std::string& name, const char* value) {
  const std::string note = "M2BERT_SET_" + name;
  const char *given = std::getenv(name.c_str()), *ours = std::getenv(note.c_str());
  if (given && !(ours && std::string_view(given) == ours)) return;
  setenv(name.c_str(), value, 1);
  setenv(note.c_str(), value, 1);
}

// How MLX launches on a GPU, and what keeps its memory until it is over. MLX reads these variables when it launches its first operation.
constexpr const char *kGraphs = "MLX_USE_CUDA_GRAPHS", *kOperations = "MLX_MAX_OPS_PER_BUFFER";
constexpr const char* kElements = "MLX_MAX_MB_PER_BUFFER";  // millions that a graph reads

bool has_gpu() { return mx::is_available(mx::Device::gpu); }

}  // namespace

void set_up_runtime(const Globals& globals) {
  setenv("MLX_ENABLE_TF32", "0", 0);  // otherwise MLX multiplies float32 on an NVIDIA GPU with 10 bits of mantissa
  set_unless_given(kGraphs, "0");     // a pass has few kernels: the GPU starts at once
  set_unless_given(kOperations, "20");
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

// A step has many kernels, and MLX waits once ten graphs are under way. All that a graph reads keeps its memory until it ends: 1000 million
// elements take a quarter more memory, and 400 leave the GPU waiting now and then.
void set_up_training() {
  set_unless_given(kGraphs, "1");
  set_unless_given(kOperations, "60");
  set_unless_given(kElements, "600");
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
