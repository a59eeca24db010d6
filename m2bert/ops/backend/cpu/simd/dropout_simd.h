#pragma once
// Dropout of an array, decided by a hash of each value's position, so that no mask is stored. Host memory only; thread-safe.
#include <cstdint>

#include "m2bert/ops/dropout_mask.h"

namespace m2bert::ops::cpu {

// y[i] = x[i] * scale, or 0 if the hash of value i is below the threshold. y may be x. T: float, or uint16_t for bfloat16.
template <class T>
void dropout_values(const T* x, int64_t n, const uint32_t key[2], uint32_t threshold, float scale, T* y, int threads);

}  // namespace m2bert::ops::cpu
