#pragma once
#include "m2bert/mx.h"

namespace m2bert::ops {

// -log softmax(x)[label] of each row, in float32: x [rows, classes] float32, float16 or bfloat16, labels [rows] integer; the result is
// [rows]. Labels are not checked; kernels return NaN for a label outside 0 ... classes - 1. Throws Error on wrong shapes or dtypes.
mx::array cross_entropy_rows(const mx::array& x, const mx::array& labels, mx::StreamOrDevice s = {});
mx::array cross_entropy_rows_fallback(const mx::array& x, const mx::array& labels, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
