#pragma once
// The sum of a matrix over its rows, as the gradient of a bias needs it. Host memory only; thread-safe.
#include <cstdint>

namespace m2bert::ops::cpu {

// y[c] = sum of x[r, c] over the rows, accumulated in float; x [rows, width]. T: float, or uint16_t for bfloat16.
template <class T>
void column_sums(const T* x, int64_t rows, int64_t width, T* y, int threads);

}  // namespace m2bert::ops::cpu
