#pragma once
// The inner loops of the long convolution on the CPU: host memory only, no MLX.
#include <cstddef>
#include <cstdint>

#include "m2bert/ops/backend/cpu/simd/fft.h"

namespace m2bert::ops::cpu {

// Filters as in ops::long_conv: k, k_rev [L, H] and D [H]; k_rev may be null. H is a multiple of kChannelBlock.
struct FilterRows {
  const float *k, *k_rev, *D;
};

struct FilterRowsGradient {
  float *k, *k_rev, *D;  // k_rev may be null
};

// y = conv(u; k, k_rev) + D u, u and y [B, L, H]. T: float, or uint16_t for bfloat16.
template <class T>
void long_conv_forward(const T* u, const FilterRows& filter, int B, int L, int H, T* y, int threads);

// The gradients of sum(y * dy).
template <class T>
void long_conv_backward(const T* u, const T* dy, const FilterRows& filter, int B, int L, int H, T* du, const FilterRowsGradient& d_filter,
                        int threads);

}  // namespace m2bert::ops::cpu
