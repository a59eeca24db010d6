#pragma once
// Linear layers for inference, with their weights packed once into the layout of a kernel; optionally followed by residual and LayerNorm.
#include <memory>
#include <optional>
#include <vector>

#include "m2bert/mx.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::ops {

struct LinearWeights {
  Weight weight;                  // dense, [out, in]
  std::optional<mx::array> bias;  // [out]
};
struct NormWeights {
  mx::array weight, bias;  // [out]
  float eps;
};

// Packed weights hold copies: they do not follow later changes of the arrays they were made from. Thread-safe.
class PackedLinear {
 public:
  virtual ~PackedLinear() = default;

  // y [..., out] = x W^T + b, or with a norm layer_norm(x W^T + b + residual); x [..., in]. x is float32 or bfloat16 like the weights; with
  // int8 weights, either. residual [..., out] of x's dtype: exactly where there is a norm. No gradient. Throws Error when shapes or dtypes do
  // not fit.
  virtual mx::array operator()(const mx::array& x, const std::optional<mx::array>& residual = std::nullopt,
                               mx::StreamOrDevice s = {}) const = 0;
};

// Packs several layers with the same input as one, whose outputs are concatenated along the last axis. Evaluates the weights. Null where the
// device has no such kernel: on the CPU for widths that are not multiples of 16, or weights that are not all float32, all bfloat16 (where
// supports_bfloat16_gemm()) or all int8 (where supports_int8_gemm()).
std::unique_ptr<PackedLinear> pack_linear(const std::vector<LinearWeights>& layers, const std::optional<NormWeights>& norm = std::nullopt,
                                          mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
