#pragma once
// The inner loops of the Monarch Mixer on the CPU: host memory only, no MLX.
#include <cstddef>
#include <cstdint>

#include "m2bert/ops/kernels/fft.h"

namespace m2bert::ops::kernels {

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

// What the gradient needs: inputs as in mixer_forward, and the cotangent dy [B, L, H] of y.
template <class T>
struct MixerInputs {
  const T* projected;
  const T* u;  // null: no second convolution
  const T* dy;
  const float* short_weight;
  const float* short_bias;
  int B, L, H;
};

// Where the gradients go, in the shapes of what they belong to; null where there is no such input.
template <class T>
struct MixerGradients {
  T* projected;
  T* u;
  float *short_weight, *short_bias;
  float *k, *k_rev, *D, *k2, *k2_rev, *D2;
};

// The gradients of sum(y * dy). Computes the forward pass anew from its inputs.
template <class T>
void mixer_backward(const MixerInputs<T>& in, const float* prepared, const MixerGradients<T>& out, int threads);

}  // namespace m2bert::ops::kernels
