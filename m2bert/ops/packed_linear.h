#pragma once
// Linear layers for inference on the CPU, with weights laid out once; with residual and norm behind them if wanted.
#include <memory>
#include <optional>
#include <vector>

#include "m2bert/mx.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::ops {

namespace cpu {
class PackedLinearHost;
}
using PackedLinear = std::shared_ptr<const cpu::PackedLinearHost>;

struct LinearWeights {
  Weight weight;                  // dense, [out, in]
  std::optional<mx::array> bias;  // [out]
};
struct NormWeights {
  mx::array weight, bias;  // [out]
  float eps;
};

// Several layers of the same input become one, whose outputs lie side by side. norm: y = layer_norm(x W^T + b + residual).
// Null where the kernel does not take them: another device, widths that are no multiples of 16, weights of other dtypes than float32,
// bfloat16 (with AVX-512) and int8, or of different ones. Evaluates the weights.
PackedLinear pack_linear(const std::vector<LinearWeights>& layers, const std::optional<NormWeights>& norm = std::nullopt,
                              mx::StreamOrDevice s = {});

// y [..., out] of x [..., in]. x is float32 or bfloat16, as the weights are; for int8 weights either. residual [..., out], of x's dtype,
// exactly where there is a norm. No gradient. Throws Error when shapes or dtypes do not fit.
mx::array linear(const mx::array& x, const PackedLinear& prepared, const std::optional<mx::array>& residual = std::nullopt,
                 mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
