#pragma once
#include "m2bert/mx.h"

namespace m2bert::ops {

// x [..., n] + bias [n] in x's dtype. The gradient of bias is summed in float32, as PyTorch does: MLX sums float16 and bfloat16 in
// themselves, which loses 4% over 32,768 rows.
mx::array add_bias(const mx::array& x, const mx::array& bias, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
