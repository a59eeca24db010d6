#pragma once
// The network that computes a filter (Hyena), layer by layer, on all threads. Host memory only; thread-safe.
#include <cstdint>

namespace m2bert::ops::cpu {

// y = sin(freq * (x W^T + b)): x [rows, in], weight [out, in], bias and freq [out], y [rows, out].
struct SineLayer {
  const float *x, *weight, *bias, *freq;
  int64_t rows;
  int in, out;
};
// y may be x.
void sine_linear_forward(const SineLayer& layer, float* y, int threads);
// The gradients of sum(y * dy), in the shapes of what they belong to.
struct SineGradients {
  float *x, *weight, *bias, *freq;
};
void sine_linear_backward(const SineLayer& layer, const float* dy, const SineGradients& to, int threads);

// y[r, c] = x[r, c] * exp(-times[r] |deltas[c]|).
void exponential_decay_rows(const float* x, const float* times, const float* deltas, int64_t rows, int columns, float* y, int threads);

}  // namespace m2bert::ops::cpu
