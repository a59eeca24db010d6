#pragma once
// The channel mixer of an encoder layer in one operation: two matmuls with an activation between them, residual and norm.
// Source: upstream's BertGatedLinearUnitMLP and BertMLP, Hugging Face's BertIntermediate and BertOutput.
#include <memory>
#include <optional>

#include "m2bert/mx.h"
#include "m2bert/ops/activation_kind.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::ops {

struct FeedForwardWeights {
  Weight up;                           // H -> I; with a gate, H -> 2 I
  std::optional<mx::array> up_bias;    // [I] or [2 I]
  Weight down;                         // I -> H
  std::optional<mx::array> down_bias;  // [H]
  mx::array norm_weight, norm_bias;    // [H]
  float eps = 1e-12f;
  Activation activation = Activation::gelu;
  bool gated = false;
};

// y = layer_norm(down(dropout(a, p)) + x) with a = act(up(x)), or if gated a = act(up(x)[..., :I]) * up(x)[..., I:]. x, y [..., H].
// Without a key there is no dropout. Gradients for x and the weights (none with int8 weights). Throws Error on wrong shapes or dtypes.
mx::array feed_forward(const mx::array& x, const FeedForwardWeights& weights, float p = 0,
                       const std::optional<mx::array>& key = std::nullopt, mx::StreamOrDevice s = {});
mx::array feed_forward_fallback(const mx::array& x, const FeedForwardWeights& weights, float p = 0,
                                const std::optional<mx::array>& key = std::nullopt, mx::StreamOrDevice s = {});

// Weights packed for inference, into the layout of a kernel that works tile by tile and never stores the intermediate values of a whole
// batch. Packed weights are copies: they do not follow later changes of the originals. Thread-safe.
class PackedFeedForward {
 public:
  virtual ~PackedFeedForward() = default;

  // feed_forward(x, weights). x has the dtype of the weights, float32 or bfloat16; with int8 weights, either. No gradient.
  virtual mx::array operator()(const mx::array& x, mx::StreamOrDevice s = {}) const = 0;
};

// Evaluates the weights. Null if the device has no kernel for their shapes and dtypes.
std::unique_ptr<PackedFeedForward> pack_feed_forward(const FeedForwardWeights& weights, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
