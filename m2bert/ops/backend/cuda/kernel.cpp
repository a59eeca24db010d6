#include "m2bert/ops/backend/cuda/kernel.h"

#include "m2bert/error.h"

namespace m2bert::ops::cuda {

std::vector<mx::array> run(const Launch& launch, const std::vector<mx::array>& inputs, const std::vector<mx::Shape>& shapes,
                           const std::vector<mx::Dtype>& dtypes, const Scalars& scalars, mx::Stream s) {
  const auto code = fatbins().find(launch.fatbin);
  require(code != fatbins().end(), "[cuda] there is no kernel \"", launch.fatbin, "\"");
  const auto threads = std::make_tuple(launch.blocks_x * launch.threads, launch.blocks_y, 1);  // of the whole grid
  return mx::fast::precompiled_cuda_kernel(launch.kernel, code->second, inputs, shapes, dtypes, scalars, threads, {launch.threads, 1, 1},
                                           launch.shared_bytes, std::nullopt, true, s);
}

mx::array run(const Launch& launch, const std::vector<mx::array>& inputs, const mx::Shape& shape, mx::Dtype dtype, const Scalars& scalars,
              mx::Stream s) {
  return run(launch, inputs, std::vector{shape}, std::vector{dtype}, scalars, s)[0];
}

}  // namespace m2bert::ops::cuda
