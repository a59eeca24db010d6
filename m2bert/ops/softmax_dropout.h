#pragma once
// Softmax and dropout of attention scores. Source: fused_softmax_dropout of the reference (Apex's additive masked softmax with dropout).
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

struct SoftmaxDropout {
  mx::array probabilities;        // as x
  std::optional<mx::array> kept;  // bool as x; none without dropout
};

// dropout(softmax(x + mask, over keys), p): scores x [B, heads, Lq, Lk]; mask, if given, [B, 1, 1, Lk] or [B, Lk], is added (0 where a key
// counts, very low where not). The softmax is computed in float32, the result has x's dtype. No key or p = 0: no dropout. Differentiable in
// x and mask; for the gradient x and the kept bits are stored, and the softmax is made again, as the reference does it. A row that is
// minus infinity everywhere is NaN. Throws Error on other shapes, x that is not floating point, or p outside 0 <= p < 1.
mx::array fused_softmax_dropout(const mx::array& x, float p, const std::optional<mx::array>& mask, const std::optional<mx::array>& key,
                                mx::StreamOrDevice s = {});
// The same with the kept bits beside it (the reference's return_dropout_mask).
SoftmaxDropout fused_softmax_dropout_with_mask(const mx::array& x, float p, const std::optional<mx::array>& mask,
                                               const std::optional<mx::array>& key, mx::StreamOrDevice s = {});
// Composed: nothing is made again.
mx::array fused_softmax_dropout_fallback(const mx::array& x, float p, const std::optional<mx::array>& mask,
                                          const std::optional<mx::array>& key, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
