#pragma once
// The long convolution by FFT, forward and backward, on all threads. Host memory only; thread-safe.
#include <cstddef>
#include <cstdint>

#include "m2bert/ops/backend/cpu/simd/twiddles.h"

namespace m2bert::ops::cpu {

// The filters of ops::long_conv: k, k_rev [L, H] and the skip term D [H]; k_rev may be null. H is a multiple of kChannelBlock.
struct LongConvFilter {
  const float *k, *k_rev, *D;
};

struct LongConvFilterGradient {
  float *k, *k_rev, *D;  // k_rev may be null
};

// y = conv(u; k, k_rev) + D u; u and y [B, L, H]. T: float, or uint16_t for bfloat16.
template <class T>
void long_conv_forward(const T* u, const LongConvFilter& filter, int B, int L, int H, T* y, int threads);

// The gradients of sum(y * dy), in the shapes of what they belong to.
template <class T>
void long_conv_backward(const T* u, const T* dy, const LongConvFilter& filter, int B, int L, int H, T* du,
                        const LongConvFilterGradient& d_filter, int threads);

}  // namespace m2bert::ops::cpu
