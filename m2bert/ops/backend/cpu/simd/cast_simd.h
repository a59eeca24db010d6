#pragma once
// Casts between float32 and bfloat16 (stored as uint16_t) on all threads. Host memory only; thread-safe.
#include <cstdint>

namespace m2bert::ops::cpu {

// y[i] = x[i] for n values, rounded to nearest, ties to even. A NaN may change its bits.
void cast_values(const float* x, int64_t n, uint16_t* y, int threads);
void cast_values(const uint16_t* x, int64_t n, float* y, int threads);

}  // namespace m2bert::ops::cpu
