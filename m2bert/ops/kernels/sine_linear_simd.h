#pragma once
// sin(freq * (x W^T + b)) for many short rows: host memory only, no MLX.
#include <cstdint>

namespace m2bert::ops::kernels {

// y [rows, out] from x [rows, in], weight [out, in], bias [out], freq [out].
void sine_linear_rows(const float* x, const float* weight, const float* bias, const float* freq, int64_t rows, int in, int out, float* y,
                      int threads);

}  // namespace m2bert::ops::kernels
