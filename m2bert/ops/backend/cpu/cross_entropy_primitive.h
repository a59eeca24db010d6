#pragma once
#include "m2bert/mx.h"

namespace m2bert::ops::cpu {

// cross_entropy_rows on the CPU, differentiable once in x; x [rows, classes] float32 or bfloat16, labels [rows] int32.
mx::array cross_entropy(const mx::array& x, const mx::array& labels, mx::Stream s);

}  // namespace m2bert::ops::cpu
