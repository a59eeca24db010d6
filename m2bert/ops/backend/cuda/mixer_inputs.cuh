#pragma once
// What the kernels of the Monarch Mixer's core read.
#include "m2bert/ops/backend/cuda/scalar.cuh"

namespace m2bert::ops::cuda {

constexpr int SHORT_FILTER = 8;

// Rows of activations are [channel, sequence, position], positions contiguous.
template <typename T>
struct MixerInputs {
  const T* projected;         // [3 H, B, L]: x1, x2, v before the short convolution
  const T* u;                 // [H, B, L]
  const float* short_filter;  // [3 H, SHORT_FILTER]: three taps, the bias, and what `projected` has before position 0; the rest is unused
  const int* lengths;         // [B]: positions from there on are padding, which neither gives nor gets a value; null: none
  int H, B, L;
};

}  // namespace m2bert::ops::cuda
