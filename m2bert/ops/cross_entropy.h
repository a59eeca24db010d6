#pragma once
#include "m2bert/mx.h"

namespace m2bert::ops {

// -log softmax(x)[label] of each row, in float32: x [rows, classes] float32, float16 or bfloat16, labels [rows] integer; the result is
// [rows]. A label outside of 0 ... classes - 1 gives a NaN on the CPU. Throws Error when shapes or dtypes do not fit. On the CPU one pass
// of our kernel, forward and gradient, which keeps one number a row; the reference is composed.
mx::array cross_entropy_rows(const mx::array& x, const mx::array& labels, mx::StreamOrDevice s = {});
mx::array cross_entropy_rows_fallback(const mx::array& x, const mx::array& labels, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
