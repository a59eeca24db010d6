#pragma once
// What the kernels of the Monarch Mixer's core read.
#include "m2bert/ops/backend/cuda/scalar.cuh"

namespace m2bert::ops::cuda {

// A row of short filters: three taps, the bias, and what the channel has before position 0; the rest is unused. There are the rows of x1,
// x2 and v, then H whose result is the input, then H whose result is 1.
constexpr int SHORT_FILTER = 8, SHORT_FILTER_ROWS = 5;

// Rows of activations are [channel, column], columns contiguous: B sequences of L positions, or sequences of different lengths with unused
// columns between them.
template <typename T>
struct MixerInputs {
  const T *x1, *x2, *v;          // [H, columns] each, before the short convolution
  const T* u;                    // [H, columns]
  const float* short_filter;     // [SHORT_FILTER_ROWS H, SHORT_FILTER], see above
  int x1_taps, x2_taps, v_taps;  // first row of each one's taps in short_filter, a row for each channel
  const int* sequences;          // [2 B + 1]: the first column and the length of each, then where the last one ends; null: all have L
  int H, B, L, columns;

  M2BERT_DEVICE int begin(int b) const { return sequences ? sequences[2 * b] : b * L; }
  M2BERT_DEVICE int length(int b) const { return sequences ? sequences[2 * b + 1] : L; }
  // With the unused columns behind it, whose result is 0.
  M2BERT_DEVICE int extent(int b) const { return sequences ? sequences[2 * b + 2] - sequences[2 * b] : L; }
  M2BERT_DEVICE size_t row(int channel, int b) const { return size_t(channel) * columns + begin(b); }
  // Whether each row of it begins at a multiple of n columns, and has as many.
  M2BERT_DEVICE bool is_multiple_of(int n, int b) const { return sequences ? (columns | begin(b) | extent(b)) % n == 0 : L % n == 0; }
};

// What kernels get: x1, x2 and v may be parts of one array, from a row on. columns: 0 for sequences of L positions.
#define MIXER_INPUTS(T) const T *x1, const T *x2, const T *v, const T *u, const float *short_filter
#define MIXER_SIZES int H, int B, int L, int x1_row, int x2_row, int v_row, int x1_taps, int x2_taps, int v_taps, int columns
#define MIXER_SIZES_GIVEN H, B, L, x1_row, x2_row, v_row, x1_taps, x2_taps, v_taps, columns
template <typename T>
M2BERT_DEVICE MixerInputs<T> mixer_inputs(MIXER_INPUTS(T), const int* sequences, MIXER_SIZES) {
  const size_t row = columns ? columns : B * L;
  return {x1 + x1_row * row,
          x2 + x2_row * row,
          v + v_row * row,
          u,
          short_filter,
          x1_taps,
          x2_taps,
          v_taps,
          columns ? sequences : nullptr,
          H,
          B,
          L,
          int(row)};
}

// y may have BIAS_ROWS rows more than there are channels: ones, then zeros. A matrix with the bias as its column H adds it in the product.
// One thread of `threads` writes its part of row `channel`.
constexpr int BIAS_ROWS = 8;
template <typename T>
M2BERT_DEVICE void fill_bias_row(const MixerInputs<T>& in, int channel, int thread, int threads, T* y) {
  const size_t count = in.columns;
  const T value = from_float<T>(channel == in.H ? 1.0f : 0.0f);
  for (size_t i = thread; i < count; i += threads) y[channel * count + i] = value;
}

}  // namespace m2bert::ops::cuda
