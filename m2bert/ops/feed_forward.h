#pragma once
// The channel mixer of an encoder layer in one op: two products with an activation between them, residual and norm.
// Source: BertGatedLinearUnitMLP and BertMLP of the reference, BertIntermediate and BertOutput of Hugging Face.
#include <memory>
#include <optional>

#include "m2bert/mx.h"
#include "m2bert/ops/activation_kind.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::ops {

struct FeedForwardWeights {
  Weight up;                           // H -> I, or with a gate H -> 2 I
  std::optional<mx::array> up_bias;    // [I] or [2 I]
  Weight down;                         // I -> H
  std::optional<mx::array> down_bias;  // [H]
  mx::array norm_weight, norm_bias;    // [H]
  float eps = 1e-12f;
  Activation activation = Activation::gelu;
  bool gated = false;
};

// y = layer_norm(down(dropout(a, p)) + x) with a = act(up(x)), or gated a = act(up(x)[..., :I]) * up(x)[..., I:]. x, y [..., H].
// Without a key there is no dropout. Gradients for x and the weights (none with int8 weights). Throws Error when shapes or dtypes do not fit.
mx::array feed_forward(const mx::array& x, const FeedForwardWeights& weights, float p = 0,
                       const std::optional<mx::array>& key = std::nullopt, mx::StreamOrDevice s = {});
mx::array feed_forward_fallback(const mx::array& x, const FeedForwardWeights& weights, float p = 0,
                                const std::optional<mx::array>& key = std::nullopt, mx::StreamOrDevice s = {});

// Weights for inference, packed into the layout of a kernel that works tile by tile and stores no intermediate values of the whole batch.
// Packed weights hold copies: they do not follow later changes of the arrays they were made from. Thread-safe.
class PackedFeedForward {
 public:
  virtual ~PackedFeedForward() = default;

  // feed_forward(x, weights). x is float32 or bfloat16 like the weights; with int8 weights, either. No gradient.
  virtual mx::array operator()(const mx::array& x, mx::StreamOrDevice s = {}) const = 0;
};

// Evaluates the weights. Null where the device has no such kernel: on the CPU for widths that are not multiples of 16, or weights that are
// not both float32, both bfloat16 (where supports_bfloat16_gemm()) or both int8 (where supports_int8_gemm()).
std::unique_ptr<PackedFeedForward> pack_feed_forward(const FeedForwardWeights& weights, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
