#pragma once
// Kernels compiled ahead (*.cu in this folder) as MLX operations.
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops::cuda {

// The architecture of the GPU, such as "sm_90".
const std::string& architecture();

// The most shared memory that a block may have on this GPU, in bytes.
int shared_memory_limit();

// Of one kernel's code for some architectures ("80", "90a", "ptx"), what fits a GPU ("sm_90") best: machine code of its generation, or PTX,
// which stands last.
struct ArchitectureCode {
  std::string_view architecture, code;
};
std::string_view best_code(std::string_view gpu, std::initializer_list<ArchitectureCode> all);
inline std::string code_for_gpu(std::initializer_list<ArchitectureCode> all) { return std::string(best_code(architecture(), all)); }

// The code of the kernels for this GPU, by their names in CMakeLists.txt. A fatbin may hold several kernels.
const std::map<std::string, std::string, std::less<>>& fatbins();

inline int ceil_div(int a, int b) { return (a + b - 1) / b; }

struct Launch {
  std::string_view fatbin;
  std::string kernel;
  int blocks_x, blocks_y, threads;
  int shared_bytes = 0;
};
using Scalars = std::vector<mx::fast::ScalarArg>;

// Runs a kernel whose parameters are the inputs, the outputs and the scalars, in this order. Inputs are copied unless they are contiguous.
// No gradient.
std::vector<mx::array> run(const Launch& launch, const std::vector<mx::array>& inputs, const std::vector<mx::Shape>& shapes,
                           const std::vector<mx::Dtype>& dtypes, const Scalars& scalars, mx::Stream s);
mx::array run(const Launch& launch, const std::vector<mx::array>& inputs, const mx::Shape& shape, mx::Dtype dtype, const Scalars& scalars,
              mx::Stream s);

}  // namespace m2bert::ops::cuda
