#pragma once
// Time per stage of the CPU kernels.
#include <cstdint>
#include <string>
#include <vector>

namespace m2bert::ops {

struct StageTime {
  std::string name;    // "in_linear", "mixing", "activation", ...
  double seconds = 0;  // summed over all threads: divide by their number for a share of the elapsed time
  double flops = 0;    // arithmetic operations of matmuls and transforms; 0: not counted
  double bytes = 0;    // read and written by the stage, from cache or memory
  int64_t calls = 0;
};

// Starts measuring from zero, or stops. Costs nothing while off.
void set_profiling(bool on);

// The stages measured so far, longest first.
std::vector<StageTime> profiled_stages();

}  // namespace m2bert::ops
