#pragma once
// Kernels compiled ahead (*.cu in this folder) as MLX operations.
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops::cuda {

// The code of the kernels, by their names in CMakeLists.txt. A fatbin may hold several kernels.
const std::map<std::string, std::string, std::less<>>& fatbins();

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
