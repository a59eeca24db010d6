#pragma once
// Softmax and dropout of attention scores. Source: upstream's fused_softmax_dropout (Apex's additive masked softmax with dropout).
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

struct SoftmaxDropout {
  mx::array probabilities;        // shape and dtype of x
  std::optional<mx::array> kept;  // bool, shape of x; absent without dropout
};

// dropout(softmax(x + mask, over keys), p): scores x [B, heads, Lq, Lk]; mask, if given, is [B, 1, 1, Lk] or [B, Lk] (0 for a key, very low
// for a masked one). The softmax is computed in float32, the result has x's dtype. No key or p = 0: no dropout. Differentiable in x and
// mask; for the gradient x and the kept bits are stored, and the softmax is recomputed, as in upstream. A row that is minus infinity
// everywhere becomes NaN. Throws Error on other shapes, if x is not floating point, and unless 0 <= p < 1.
mx::array fused_softmax_dropout(const mx::array& x, float p, const std::optional<mx::array>& mask, const std::optional<mx::array>& key,
                                mx::StreamOrDevice s = {});
// The same, and also returns the kept bits (upstream's return_dropout_mask).
SoftmaxDropout fused_softmax_dropout_with_mask(const mx::array& x, float p, const std::optional<mx::array>& mask,
                                               const std::optional<mx::array>& key, mx::StreamOrDevice s = {});
// Stores the softmax instead of recomputing it.
mx::array fused_softmax_dropout_fallback(const mx::array& x, float p, const std::optional<mx::array>& mask,
                                         const std::optional<mx::array>& key, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
