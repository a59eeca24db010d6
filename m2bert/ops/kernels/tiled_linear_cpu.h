#pragma once
// TiledLinear as an MLX primitive.
#include "m2bert/ops/prepared_linear.h"

namespace m2bert::ops::kernels {

PreparedLinear prepare_linear(const LinearWeights& weights, const std::optional<NormWeights>& norm, mx::Stream s);
mx::array linear(const mx::array& x, const PreparedLinear& prepared, const std::optional<mx::array>& residual, mx::Stream s);

}  // namespace m2bert::ops::kernels
