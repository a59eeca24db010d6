#pragma once
// Dropout, alone and with the sums around it. Source: fused_dropout_add of the reference.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// Sets each value to 0 with probability p and divides the others by 1 - p. The key (mx::random::key's) decides the mask: a hash of it and
// of each value's place. Throws Error unless 0 <= p < 1, or when x is not floating point and p > 0. On the CPU one pass of our kernel,
// forward and gradient, which keeps no mask; the reference is composed and drops the same.
mx::array dropout(const mx::array& x, float p, const mx::array& key, mx::StreamOrDevice s = {});
mx::array dropout_fallback(const mx::array& x, float p, const mx::array& key, mx::StreamOrDevice s = {});

// Which values dropout keeps: bool of this shape, each true with probability 1 - p.
mx::array dropout_kept(const mx::Shape& shape, float p, const mx::array& key, mx::StreamOrDevice s = {});

// dropout(x, p) + residual: x and residual of one shape and dtype. No key: not training, x + residual whatever p is (the reference's
// is_training). Differentiable in both. Throws Error unless 0 <= p < 1.
mx::array fused_dropout_add(const mx::array& x, const mx::array& residual, float p, const std::optional<mx::array>& key,
                            mx::StreamOrDevice s = {});

// dropout(x + bias, p) + residual: the same with a bias [last axis of x].
mx::array fused_bias_dropout_add(const mx::array& x, const mx::array& bias, const mx::array& residual, float p,
                                 const std::optional<mx::array>& key, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
