#pragma once
// The Monarch Mixer between its two projections: y = x2 * conv1(x1 * v) + conv2(u), where (x1, x2, v) are thirds of a causal short
// convolution of `projected`, and conv1 and conv2 are long convolutions by FFT. Forward, for inference and training, and backward. Host
// memory only; every function is thread-safe. The number of channels H is a multiple of kChannelBlock. T: float, or uint16_t for bfloat16.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "m2bert/ops/backend/cpu/simd/blocked_matrix.h"
#include "m2bert/ops/backend/cpu/simd/twiddles.h"

namespace m2bert::ops::cpu {

// The number of values of the packed filters of H channels for sequences of L tokens:
// [H / kChannelBlock][fft_length(L) / 2 + 1][4 floats or 2 pairs][kChannelBlock].
// F: float, or uint32_t, a pair of bfloat16 for the real and the imaginary part, as inference on bfloat16 reads them.
template <class F>
size_t packed_filter_size(int H, int L) {
  return size_t(H) * (size_t(fft_length(L)) / 2 + 1) * (std::is_same_v<F, float> ? 4 : 2);
}

// Packs the two long filters: their spectra in the order in which the FFT leaves frequencies, with the skip terms and the FFT's scale
// folded in. k, k_rev, k2, k2_rev [L, H] and D, D2 [H]; k_rev, k2, k2_rev and D2 may be null.
template <class F>
void pack_filter_spectra(const float* k, const float* k_rev, const float* D, const float* k2, const float* k2_rev, const float* D2, int L,
                         int H, F* packed, int threads);

// A filter as the last layer of a small network: row t of the filter is (features[t] weight^T) * exp(-times[t] |deltas|).
// Source: HyenaFilter upstream.
struct HostFilterNetwork {
  const float* features = nullptr;  // [L, order]; null: there is no such filter
  const float* weight = nullptr;    // [H, order]
};
struct HostFilterNetworks {
  HostFilterNetwork k, k_rev, k2, k2_rev;
  int order;
  const float *times, *times2;    // [L]; for k and k_rev, for k2 and k2_rev
  const float *deltas, *deltas2;  // [H]
  const float *D, *D2;            // [H], or null
};

// The same from networks, for all H channels on all threads,
template <class F>
void pack_filter_spectra(const HostFilterNetworks& networks, int L, int H, F* packed, int threads);
// and for channels [h, h + kChannelBlock) on the calling thread.
template <class F>
void pack_filter_spectra_block(const HostFilterNetworks& networks, int L, int h, F* packed);

// A sequence among the rows of a batch.
struct SequenceRows {
  int64_t first;      // row of its first token
  int length;         // tokens, at least 1
  size_t filter = 0;  // which of several filters it is mixed with
  bool operator==(const SequenceRows&) const = default;
};

// B sequences of L tokens, one after the other.
std::vector<SequenceRows> equal_sequences(int B, int L);

// The length of the longest of the sequences, 0 if there are none.
int longest(const std::vector<SequenceRows>& sequences);

// What the mix reads and writes. The rows of a batch are its sequences, one after the other.
template <class T>
struct MonarchMixArrays {
  BlockedMatrix<const T> projected;        // [B * L, 3 H]
  BlockedMatrix<const T> u;                // [B * L, H]; null data: no second convolution
  BlockedMatrix<T> y;                      // [B * L, H]
  const float *short_weight, *short_bias;  // [3 H, 3], [3 H]
  int H;
};

// How many blocks of channels a task of the forward or backward pass of a batch covers, sequence by sequence. Each row of a dense matrix
// has memory pages of its own: what the first block has loaded of a short sequence, above all the page addresses, is still cached for the
// next blocks.
inline int channel_blocks_per_task(int blocks, int L, int threads) {
  constexpr int kMaxBlocks = 4, kMaxLength = 512;
  return L > kMaxLength ? 1 : std::clamp(blocks / threads, 1, kMaxBlocks);
}

// y for channels [h, h + kChannelBlock) of the sequence of L tokens that starts at `row`, on the calling thread. packed: the filters of
// these channels. If they are bfloat16, FFTs that do not fit into the cache keep their intermediate values in bfloat16 too.
template <class T, class F>
void monarch_mix_block(const MonarchMixArrays<T>& arrays, const F* packed, int64_t row, int L, int h);

// The filters of the first token's row of y, [L, H]: row s is the weight of token s.
struct FirstRowFilters {
  const float* k;
  const float* k2;  // of the second convolution, or null
};

// Shares of the results of both convolutions at the first token of a sequence, without a transform: sums[c] and sums2[c] for channels
// [h, h + kChannelBlock), from tokens [begin, begin + count). `row` is that of token `begin`; the rows before it are those of the two
// tokens before, if there are any.
template <class T>
void first_row_sums(const MonarchMixArrays<T>& arrays, const FirstRowFilters& filters, int64_t row, int begin, int count, int h,
                    float* sums, float* sums2);

// Row `row` of y, where `projected` has a first token, from the sums of its sequence, for the same channels. Reads x2 only.
template <class T>
void first_row_gate(const MonarchMixArrays<T>& arrays, int64_t row, int h, const float* sums, const float* sums2);

// The inputs of the mix of whole sequences: projected [rows, 3 H], u [rows, H], short_weight [3 H, 3], short_bias [3 H].
template <class T>
struct MonarchMixInputs {
  const T* projected;
  const T* u;   // null: no second convolution
  const T* dy;  // the gradient of y [rows, H], for the backward pass
  const float* short_weight;
  const float* short_bias;
  std::vector<SequenceRows> sequences;
  std::vector<const float*> filters;  // packed, those that SequenceRows::filter names; each for the FFT length of its sequences
  int H;
};

// y [rows, H], all channels on all threads.
template <class T>
void monarch_mix_forward(const MonarchMixInputs<T>& in, T* y, int threads);

// Where the gradients go, in the shapes of what they belong to; null if there is no such input.
template <class T>
struct MonarchMixGradients {
  T* projected;
  T* u;
  float *short_weight, *short_bias;
  float *k, *k_rev, *D, *k2, *k2_rev, *D2;
};

// The gradients of sum(y * dy). Recomputes the forward pass from its inputs. filter_rows[i]: the rows of the time-domain filters that are
// in in.filters[i]; filter_length >= any of them: the rows of the filters' gradients.
template <class T>
void monarch_mix_backward(const MonarchMixInputs<T>& in, const std::vector<int>& filter_rows, int filter_length,
                          const MonarchMixGradients<T>& out, int threads);

}  // namespace m2bert::ops::cpu
