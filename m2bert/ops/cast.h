#pragma once
// Casts between floating dtypes.
#include "m2bert/mx.h"

namespace m2bert::ops {

// x [...] as `dtype`, rounded to nearest, ties to even. The gradient has x's dtype. The fallback is MLX's astype.
mx::array cast(const mx::array& x, mx::Dtype dtype, mx::StreamOrDevice s = {});
mx::array cast_fallback(const mx::array& x, mx::Dtype dtype, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
