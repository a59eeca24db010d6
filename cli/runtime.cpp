#include "cli/runtime.h"

#include "m2bert/error.h"
#include "m2bert/io/log.h"
#include "m2bert/memory.h"
#include "m2bert/mx.h"
#include "m2bert/threads.h"

#ifdef __linux__
#include <cstdlib>

namespace {

// Lets OpenMP's threads spin briefly for the next loop (5,000 turns are 0.1 to 0.3 ms), then sleep. Spinning longer, OpenMP's default,
// stalls every loop as soon as another program needs a core; sleeping at once costs a wake-up for each loop. libgomp reads its environment
// when it is loaded, so this runs before the libraries are initialized.
void let_threads_sleep(int, char**, char**) {
  ::setenv("OMP_WAIT_POLICY", "passive", 0);
  ::setenv("GOMP_SPINCOUNT", "5000", 0);
}

__attribute__((section(".preinit_array"), used)) void (*const before_libraries)(int, char**, char**) = let_threads_sleep;

}  // namespace
#endif

namespace m2bert::cli {

void set_up_runtime(const Globals& globals) {
  keep_freed_memory();
  io::set_quiet(globals.quiet);
  set_threads(globals.threads);
  if (globals.device.empty()) return;
  const mx::Device device = globals.device == "gpu" ? mx::Device::gpu : mx::Device::cpu;
  require(mx::is_available(device), "--device gpu: MLX ", mx::version(),
          " finds no GPU here. Leave --device out, or install MLX with CUDA (Linux) ", "or run on a Mac with Apple silicon.");
  mx::set_default_device(device);
}

}  // namespace m2bert::cli
