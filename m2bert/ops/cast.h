#pragma once
// Casts between floating dtypes.
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// x [...] as `dtype`, rounded to nearest, ties to even. The gradient has x's dtype. The fallback is MLX's astype.
mx::array cast(const mx::array& x, mx::Dtype dtype, mx::StreamOrDevice s = {});
mx::array cast_fallback(const mx::array& x, mx::Dtype dtype, mx::StreamOrDevice s = {});

// cast of each array; on a GPU a few launches cast all of them. What depends on one of the results then waits for all.
std::vector<mx::array> cast_arrays(const std::vector<mx::array>& arrays, mx::Dtype dtype, mx::StreamOrDevice s = {});
std::vector<mx::array> cast_arrays_fallback(const std::vector<mx::array>& arrays, mx::Dtype dtype, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
