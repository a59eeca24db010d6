#pragma once
// Dropout by a hash of each value's place: host memory only, no MLX.
#include <cstdint>

namespace m2bert::ops::cpu {

// Places are hashed in lines of this many values: h = hash_mix(j * step + first), j the place in line l, first = hash_mix(key[0] + l),
// step = hash_mix(key[1] + l) | 1.
inline constexpr int kDropoutLine = 4096;

// What is dropped: hashes below it.
inline uint32_t dropout_threshold(float p) { return static_cast<uint32_t>(double(p) * 4294967296.0); }

// y[i] = x[i] * scale, or 0 where the hash of place i is below the threshold. T: float, or uint16_t for bfloat16.
template <class T>
void dropout_values(const T* x, int64_t n, const uint32_t key[2], uint32_t threshold, float scale, T* y, int threads);

}  // namespace m2bert::ops::cpu
