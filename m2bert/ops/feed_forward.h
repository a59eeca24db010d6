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

// y = layer_norm(down(dropout(a, p)) + x) with a = act(up(x)), or with a gate a = act(up(x)[..., :I]) * up(x)[..., I:]. x, y [..., H].
// No key: no dropout. Gradients for x and the weights (none with int8 weights). Throws Error when shapes or dtypes do not fit.
// On the CPU both products and what lies between them are one kernel, forward and backward, which keeps the result of `up` alone; where up
// and down have as many blocks, I/nb is a multiple of 16, the activation is a GELU and everything is float32 or bfloat16. The reference is
// composed.
mx::array feed_forward(const mx::array& x, const FeedForwardWeights& weights, float p = 0,
                       const std::optional<mx::array>& key = std::nullopt, mx::StreamOrDevice s = {});
mx::array feed_forward_fallback(const mx::array& x, const FeedForwardWeights& weights, float p = 0,
                                 const std::optional<mx::array>& key = std::nullopt, mx::StreamOrDevice s = {});

// Weights laid out once for the CPU kernel, which works tile by tile and keeps no intermediate values of the whole batch.
namespace cpu {
class PackedFeedForwardHost;
}
using PackedFeedForward = std::shared_ptr<const cpu::PackedFeedForwardHost>;

// Null where the kernel does not take these: another device, weights of other dtypes than float32, bfloat16 (with AVX-512) and int8, up
// and down of different ones, widths that are no multiples of 16. Evaluates the weights.
PackedFeedForward pack_feed_forward(const FeedForwardWeights& weights, mx::StreamOrDevice s = {});

// The kernel, for inference: no gradient. x is float32 or bfloat16, as the weights are; for int8 weights either.
mx::array feed_forward(const mx::array& x, const PackedFeedForward& prepared, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
