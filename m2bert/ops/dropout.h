#pragma once
// Dropout, alone and fused with additions. Source: upstream's fused_dropout_add.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// Sets each value to 0 with probability p and divides the others by 1 - p. The mask is a hash of the key (from mx::random::key) and of each
// value's position; the fallback drops the same values. Throws Error unless 0 <= p < 1, or if x is not floating point and p > 0.
mx::array dropout(const mx::array& x, float p, const mx::array& key, mx::StreamOrDevice s = {});
mx::array dropout_fallback(const mx::array& x, float p, const mx::array& key, mx::StreamOrDevice s = {});

// Which values dropout keeps: bool of this shape, each true with probability 1 - p.
mx::array dropout_kept(const mx::Shape& shape, float p, const mx::array& key, mx::StreamOrDevice s = {});

// dropout(x, p) + residual; x and residual have one shape and dtype. Without a key there is no dropout, whatever p is (as with upstream's
// is_training = false). Differentiable in both. Throws Error unless 0 <= p < 1.
mx::array fused_dropout_add(const mx::array& x, const mx::array& residual, float p, const std::optional<mx::array>& key,
                            mx::StreamOrDevice s = {});

// dropout(x + bias, p) + residual: the same with a bias of the length of x's last axis.
mx::array fused_bias_dropout_add(const mx::array& x, const mx::array& bias, const mx::array& residual, float p,
                                 const std::optional<mx::array>& key, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
