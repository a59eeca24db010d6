#pragma once
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// y = x W^T + b. x [..., in], weight [out, in], bias [out]; the result is [..., out] in x's dtype.
// Throws Error unless x has `in` columns.
mx::array linear(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, mx::StreamOrDevice s = {});
mx::array linear_fallback(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
