#pragma once
// The inner loops of the Monarch Mixer on the CPU: host memory only, no MLX.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "m2bert/ops/backend/cpu/simd/fft.h"

namespace m2bert::ops::cpu {

// Prepared filters are of float, or, as inference on bfloat16 wants them, of uint32_t: real and imaginary part in bfloat16.
// Values of the prepared filters of H channels: [H / 16][transform length / 2 + 1][4 floats or 2 pairs][16].
template <class F>
size_t mixer_prepared_size(int H, int L) {
  return size_t(H) * (size_t(transform_length(L)) / 2 + 1) * (std::is_same_v<F, float> ? 4 : 2);
}

// The two filters of a mixer in the frequency domain, in the order in which the transform leaves frequencies, skip terms and scale
// folded in. k, k_rev, k2, k2_rev [L, H] and D, D2 [H]; k_rev, k2, k2_rev and D2 may be null.
template <class F>
void mixer_prepare(const float* k, const float* k_rev, const float* D, const float* k2, const float* k2_rev, const float* D2, int L, int H,
                   F* prepared, int threads);

// One filter as the last layer of a small network: row t of the filter is (features[t] weight^T) * exp(-times[t] |deltas|).
// Source: HyenaFilter of the reference.
struct HostFilterNetwork {
  const float* features = nullptr;  // [L, order]; null: there is no such filter
  const float* weight = nullptr;    // [H, order]
};
struct HostFilterNetworks {
  HostFilterNetwork k, k_rev, k2, k2_rev;
  int order;
  const float *times, *times2;    // [L] of k and k_rev, of k2 and k2_rev
  const float *deltas, *deltas2;  // [H]
  const float *D, *D2;            // [H], or null
};

// The same from networks, for all H channels.
template <class F>
void mixer_prepare(const HostFilterNetworks& networks, int L, int H, F* prepared, int threads);
// The part of channels [h, h + kChannelBlock) alone, on the thread that asks.
template <class F>
void mixer_prepare_channels(const HostFilterNetworks& networks, int L, int h, F* prepared);

// A matrix whose columns are cut into chunks, so that a channel's values lie close together. Whole rows are one chunk.
template <class T>
struct ChunkedRows {
  T* at = nullptr;
  int chunk = kChannelBlock;  // columns a chunk; a multiple of kChannelBlock
  int64_t row_stride;         // from a row to the next one in a chunk
  int64_t chunk_stride;       // from a chunk to the next one

  T* element(int64_t row, int column) const { return at + column / chunk * chunk_stride + row * row_stride + column % chunk; }
};

template <class T>
ChunkedRows<T> whole_rows(T* at, int columns) {
  return {at, columns, columns, 0};
}

// What a mixer reads and writes: rows of texts, one text after the other.
template <class T>
struct MixerRows {
  ChunkedRows<const T> projected;  // 3 H columns
  ChunkedRows<const T> u;          // H columns; at null: no second convolution
  ChunkedRows<T> y;                // H columns
  const float *short_weight, *short_bias;
  int H;
};

// How many blocks of channels a thread takes one after the other of each text of a batch. Whole rows lie each in pages of their own: what
// the first block has fetched of a short text, addresses of pages above all, is still at hand for the next ones.
inline int blocks_together(int blocks, int L, int threads) {
  constexpr int kMost = 4, kLongest = 512;
  return L > kLongest ? 1 : std::clamp(blocks / threads, 1, kMost);
}

// y = x2 * conv1(x1 * v) + conv2(u) for channels [h, h + kChannelBlock) of the text that begins at `row`, on the thread that asks;
// (x1, x2, v) = thirds of the causal short convolution of `projected`. prepared: the filters of these channels. With those of bfloat16
// long transforms are kept in bfloat16 too, where they do not fit in the cache.
template <class T, class F>
void mix_channels(const MixerRows<T>& rows, const F* prepared, int64_t row, int L, int h);

// The same for whole texts and all channels: projected [B, L, 3 H], u and y [B, L, H]; short_weight [3 H, 3], short_bias [3 H] float.
// T: float, or uint16_t for bfloat16. u may be null: no second convolution.
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

}  // namespace m2bert::ops::cpu
