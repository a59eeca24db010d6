#pragma once
// Where the time of the CPU kernels goes.
#include <cstdint>
#include <string>
#include <vector>

namespace m2bert::ops {

struct StageTime {
  std::string name;    // "in_linear", "mixing", "activation", ...
  double seconds = 0;  // of all threads together: divide by their number for a share of the time that passed
  double flops = 0;    // arithmetic operations of matrix products and transforms; 0: not counted
  double bytes = 0;    // read and written by the stage, wherever they lie
  int64_t calls = 0;
};

// Starts to measure from zero, or stops. Costs nothing while it is off.
void set_profiling(bool on);

// What was measured so far, the longest stage first.
std::vector<StageTime> profiled_stages();

}  // namespace m2bert::ops
