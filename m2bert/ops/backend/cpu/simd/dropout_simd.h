#pragma once
// Dropout of an array, decided by a hash of each value's position, so that no mask is stored. Host memory only; thread-safe.
#include <cstdint>

namespace m2bert::ops::cpu {

// Values are hashed in lines of this many: value j of line l gets the hash hash_mix(j * step + first), with first = hash_mix(key[0] + l)
// and step = hash_mix(key[1] + l) | 1.
inline constexpr int kDropoutLine = 4096;

// Values whose hash is below this are dropped; p: the probability of being dropped.
inline uint32_t dropout_threshold(float p) { return static_cast<uint32_t>(double(p) * 4294967296.0); }

// y[i] = x[i] * scale, or 0 if the hash of value i is below the threshold. y may be x. T: float, or uint16_t for bfloat16.
template <class T>
void dropout_values(const T* x, int64_t n, const uint32_t key[2], uint32_t threshold, float scale, T* y, int threads);

}  // namespace m2bert::ops::cpu
