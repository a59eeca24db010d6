#pragma once
// Numbers of one floating dtype in another one.
#include "m2bert/mx.h"

namespace m2bert::ops {

// x [...] in `dtype`, rounded to the nearest, ties to even; its gradient comes in x's dtype. On the CPU float32 to bfloat16 and back on
// all threads (MLX takes one); every other pair of dtypes as the reference, MLX's astype.
mx::array cast(const mx::array& x, mx::Dtype dtype, mx::StreamOrDevice s = {});
mx::array cast_fallback(const mx::array& x, mx::Dtype dtype, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
