#pragma once
#include "m2bert/mx.h"

namespace m2bert::ops {

// bias [n] as an array of `shape` [..., n] and dtype, which takes no memory. In half precision its gradient is summed in float32, as
// PyTorch does: MLX accumulates in the array's own dtype, which in bfloat16 is 4% off after 32,768 rows.
mx::array broadcast_bias(const mx::array& bias, const mx::Shape& shape, mx::Dtype dtype, mx::StreamOrDevice s = {});

// x [..., n] + bias [n] in x's dtype, with that gradient.
mx::array add_bias(const mx::array& x, const mx::array& bias, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
