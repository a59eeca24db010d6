#pragma once
// A thread's positions of the mixer's inputs in float32, for mixer_fft: loading, the short convolution, gates, storing.
#include "m2bert/ops/backend/cuda/mixer_inputs.cuh"

namespace m2bert::ops::cuda {

// Elements t0 - 2 ... t0 + C - 1 of a row; *before (null: 0) in front of it, zeros from `length` on. wide: rows begin at multiples of 16
// bytes.
template <int C, typename T>
M2BERT_DEVICE void load_positions(const T* row, int t0, int length, bool wide, const float* before, float* out) {
  constexpr int V = Vector<T>::size;
  if (t0 == 0) {
    out[0] = out[1] = before ? *before : 0.0f;
  } else {
    out[0] = t0 - 2 < length ? to_float(row[t0 - 2]) : 0.0f;
    out[1] = t0 - 1 < length ? to_float(row[t0 - 1]) : 0.0f;
  }
  if (C % V == 0 && wide && t0 + C <= length) {
    M2BERT_UNROLL for (int i = 0; i < C; i += V) {
      const Vector<T> vector = *reinterpret_cast<const Vector<T>*>(row + t0 + i);
      M2BERT_UNROLL for (int j = 0; j < V && i + j < C; ++j) out[2 + i + j] = to_float(vector.values[j]);
    }
  } else {
    M2BERT_UNROLL for (int i = 0; i < C; ++i) out[2 + i] = t0 + i < length ? to_float(row[t0 + i]) : 0.0f;
  }
}

template <int C, typename T>
M2BERT_DEVICE void store_positions(T* row, int t0, int length, bool wide, const float* values) {
  constexpr int V = Vector<T>::size;
  if (C % V == 0 && wide && t0 + C <= length) {
    M2BERT_UNROLL for (int i = 0; i < C; i += V) {
      Vector<T> vector;
      M2BERT_UNROLL for (int j = 0; j < V && i + j < C; ++j) vector.values[j] = from_float<T>(values[i + j]);
      *reinterpret_cast<Vector<T>*>(row + t0 + i) = vector;
    }
  } else {
    M2BERT_UNROLL for (int i = 0; i < C; ++i) {
      if (t0 + i < length) row[t0 + i] = from_float<T>(values[i]);
    }
  }
}

// The causal convolution with three taps at positions t0 ... t0 + C - 1.
template <int C, typename T>
M2BERT_DEVICE void short_convolution(const T* row, const float* filter, int t0, int length, bool wide, float* out) {
  float x[C + 2];
  load_positions<C>(row, t0, length, wide, filter + 4, x);
  const float w0 = filter[0], w1 = filter[1], w2 = filter[2], bias = filter[3];
  M2BERT_UNROLL for (int i = 0; i < C; ++i) out[i] = w0 * x[i] + (w1 * x[i + 1] + (w2 * x[i + 2] + bias));
}

// One channel of one pair of sequences. signal 0 is the gated one, x1 v; signal 1 is u, for the residual convolution.
template <typename T>
struct MixerPair {
  const MixerInputs<T>& in;
  int channel, first;  // sequences first and first + 1, if there is one

  M2BERT_DEVICE bool wide(int sequence) const { return in.is_multiple_of(Vector<T>::size, sequence); }
  M2BERT_DEVICE size_t row(int c, int sequence) const { return in.row(c, sequence); }
  M2BERT_DEVICE int length(int sequence) const { return sequence >= in.B ? 0 : in.length(sequence); }

  template <int C>
  M2BERT_DEVICE void signal_values(int signal, int sequence, int t0, float* out) const {
    const int n = length(sequence);
    if (t0 >= n) {
      M2BERT_UNROLL for (int i = 0; i < C; ++i) out[i] = 0;
      return;
    }
    float x[C + 2];
    if (signal) {
      load_positions<C>(in.u + row(channel, sequence), t0, n, wide(sequence), nullptr, x);
      M2BERT_UNROLL for (int i = 0; i < C; ++i) out[i] = x[i + 2];
      return;
    }
    short_convolution<C>(in.x1 + row(channel, sequence), in.short_filter + SHORT_FILTER * (in.x1_taps + channel), t0, n, wide(sequence),
                         out);
    short_convolution<C>(in.v + row(channel, sequence), in.short_filter + SHORT_FILTER * (in.v_taps + channel), t0, n, wide(sequence), x);
    M2BERT_UNROLL for (int i = 0; i < C; ++i) out[i] = t0 + i < n ? out[i] * x[i] : 0.0f;
  }
  template <int C>
  M2BERT_DEVICE void store(int sequence, int t0, const float* values, T* y) const {
    if (sequence >= in.B) return;
    const int n = length(sequence), extent = in.extent(sequence);
    if (t0 >= extent) return;
    float masked[C];
    M2BERT_UNROLL for (int i = 0; i < C; ++i) masked[i] = t0 + i < n ? values[i] : 0.0f;
    store_positions<C>(y + row(channel, sequence), t0, extent, wide(sequence), masked);
  }
  template <int C>
  M2BERT_DEVICE void gate(int sequence, int t0, float* out) const {
    const int n = length(sequence);
    if (t0 < n)
      short_convolution<C>(in.x2 + row(channel, sequence), in.short_filter + SHORT_FILTER * (in.x2_taps + channel), t0, n, wide(sequence),
                           out);
  }
};

}  // namespace m2bert::ops::cuda
