#pragma once
// Linear layers with weights packed for inference; optionally followed by residual and LayerNorm.
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

// Weights in the layout of a kernel. They are copies: they do not follow later changes of the originals. Thread-safe.
class PackedLinear {
 public:
  virtual ~PackedLinear() = default;

  // y [..., out] = x W^T + b, or with a norm layer_norm(x W^T + b + residual); x [..., in]. x has the dtype of the weights, float32 or
  // bfloat16; with int8 weights, either. residual [..., out], of x's dtype, is required with a norm and not allowed without. No gradient.
  // Throws Error on wrong shapes or dtypes.
  virtual mx::array operator()(const mx::array& x, const std::optional<mx::array>& residual = std::nullopt,
                               mx::StreamOrDevice s = {}) const = 0;
};

// Packs several layers with the same input as one, whose outputs are concatenated along the last axis. Evaluates the weights. Null if the
// device has no kernel for their shapes and dtypes.
std::unique_ptr<PackedLinear> pack_linear(const std::vector<LinearWeights>& layers, const std::optional<NormWeights>& norm = std::nullopt,
                                          mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
