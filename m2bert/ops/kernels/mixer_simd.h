#pragma once
// The inner loops of the Monarch Mixer on the CPU: host memory only, no MLX.
#include <cstddef>
#include <cstdint>

namespace m2bert::ops::kernels {

// Channels are worked on in blocks of this many; H is a multiple of it.
inline constexpr int kChannelBlock = 16;

// Length of the transform for texts of L tokens: the power of two from 2 L up, at least 4.
int mixer_transform_length(int L);

// Floats of the prepared filters of H channels: [H / 16][transform length / 2 + 1][4][16].
size_t mixer_prepared_size(int H, int L);

// The two filters of a mixer in the frequency domain, in the order in which the transform leaves frequencies, skip terms and scale
// folded in. k, k_rev, k2, k2_rev [L, H] and D, D2 [H]; k_rev, k2, k2_rev and D2 may be null.
void mixer_prepare(const float* k, const float* k_rev, const float* D, const float* k2, const float* k2_rev, const float* D2, int L, int H,
                   float* prepared, int threads);

// y = x2 * conv1(x1 * v) + conv2(u), (x1, x2, v) = thirds of the causal short convolution of `projected`.
//   projected [B, L, 3 H], u and y [B, L, H]; short_weight [3 H, 3], short_bias [3 H] float. T: float, or uint16_t for bfloat16.
// u may be null: no second convolution.
template <class T>
void mixer_forward(const T* projected, const T* u, const float* short_weight, const float* short_bias, const float* prepared, int B, int L,
                   int H, T* y, int threads);

}  // namespace m2bert::ops::kernels
