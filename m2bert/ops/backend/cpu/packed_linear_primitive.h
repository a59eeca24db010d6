#pragma once
// PackedLinearHost as an MLX primitive.
#include "m2bert/ops/packed_linear.h"

namespace m2bert::ops::cpu {

PackedLinear pack_linear(const LinearWeights& weights, const std::optional<NormWeights>& norm, mx::Stream s);
mx::array linear(const mx::array& x, const PackedLinear& prepared, const std::optional<mx::array>& residual, mx::Stream s);

}  // namespace m2bert::ops::cpu
