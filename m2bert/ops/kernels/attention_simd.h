#pragma once
// Self-attention on the CPU: host memory only, no MLX. T: float, or uint16_t for bfloat16.
#include <cstdint>

namespace m2bert::ops::kernels {

// y = softmax(q k^T / sqrt(d) + key_bias[key] - slopes[head] |i - j|) v a head; q, k, v, y [B, S, heads * d], key_bias [B, S].
// slopes may be null. A few rows of the scores exist at a time.
template <class T>
void self_attention_rows(const T* q, const T* k, const T* v, const float* key_bias, const float* slopes, int B, int S, int heads, int d,
                         T* y, int threads);

}  // namespace m2bert::ops::kernels
