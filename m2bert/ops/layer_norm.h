#pragma once
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// (s - mean) / sqrt(var + eps) * weight + bias over the last axis, s = x + residual (x if absent). x, residual [..., n]; weight, bias [n].
// Each is float32, float16 or bfloat16; the result has s's dtype. Throws Error on wrong shapes or dtypes.
mx::array layer_norm(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias,
                     float eps, mx::StreamOrDevice s = {});
mx::array layer_norm_fallback(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias,
                              float eps, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
