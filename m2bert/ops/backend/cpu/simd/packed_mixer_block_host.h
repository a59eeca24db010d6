#pragma once
// The mixer block (sequence mixer) of an M2-BERT layer at inference, with packed weights: projection in, short convolution, gates, long
// convolutions (monarch_mix_simd.h), projection out. Host memory only.
#include <algorithm>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "m2bert/ops/backend/cpu/simd/monarch_mix_simd.h"
#include "m2bert/ops/backend/cpu/simd/packed_weight_host.h"

namespace m2bert::ops::cpu {

// What a block is packed from; copied, not kept.
struct PackedMixerBlockSource {
  HostDtype in_dtype, out_dtype;           // of the weights: the same, or one of them int8
  WeightView in, out;                      // H -> 3 H, H -> H; dense
  const float *in_bias, *out_bias;         // [3 H], [H]; or null
  const float *short_weight, *short_bias;  // [3 H, 3], [3 H]
  bool residual;                           // whether there is a second long convolution
};

// Whether the block can be packed: both weights are dense, and H is a multiple of 16.
bool packed_mixer_block_supports(const WeightView& in, const WeightView& out);

// The type of packed filters for sequences of T.
template <class T>
using FilterValue = std::conditional_t<sizeof(T) == 4, float, uint32_t>;

// The first `rows` rows of the filters: packed beforehand by pack_filter_spectra, or networks, from which the filters of a few channels at
// a time are computed, so that they are never in memory as a whole. One of the two is null.
template <class T>
struct FilterSource {
  int rows;
  const FilterValue<T>* packed = nullptr;
  const HostFilterNetworks* networks = nullptr;

  // The packed filters of channels [h, h + kChannelBlock). From networks, they are valid until the same thread calls this again.
  const FilterValue<T>* channels(int h) const;
};

// The sequences of a batch, and the filters that SequenceRows::filter names; each for the FFT length of its sequences.
template <class T>
struct MixerBatch {
  const std::vector<SequenceRows>& sequences;
  const std::vector<FilterSource<T>>& filters;

  int64_t rows() const { return sequences.empty() ? 0 : sequences.back().first + sequences.back().length; }
};

// Tokens [begin, begin + count) of a sequence.
struct SequencePart {
  size_t sequence;
  int begin, count;
  int before() const { return std::min(begin, 2); }  // tokens before them that the short convolution reads
};

// Immutable and thread-safe.
class PackedMixerBlockHost {
 public:
  explicit PackedMixerBlockHost(const PackedMixerBlockSource& source);

  // y [rows, H] from u [rows, H], the rows of consecutive sequences. T: float for float32 weights, uint16_t (bfloat16) for bfloat16
  // weights, either if both are int8. y may be u.
  template <class T>
  void run(const T* u, const MixerBatch<T>& batch, T* y, int threads) const;

  // The first row of each sequence of y, [sequences, H], without a transform. filters: those that SequenceRows::filter names; each has at
  // least as many rows as its sequences.
  template <class T>
  void run_first(const T* u, const std::vector<SequenceRows>& sequences, const std::vector<FirstRowFilters>& filters, T* y,
                 int threads) const;

  bool residual() const { return residual_; }
  int width() const { return hidden_; }
  HostDtype in_dtype() const { return in_dtype_; }
  HostDtype out_dtype() const { return out_dtype_; }
  size_t bytes() const;

 private:
  enum class Thirds { all, x2, x1_and_v };  // of the projection
  template <class T>
  struct Workspace;
  struct ChannelGroup;
  ChannelGroup group(int first, int width) const;
  int group_width(int64_t rows, size_t value_size) const;
  template <class T>
  void project_in(const T* u, int64_t row, int rows, const Workspace<T>& work, const ChannelGroup& g, Thirds thirds = Thirds::all) const;
  template <class T>
  void project_out(const Workspace<T>& work, int64_t row, int rows, T* y) const;
  template <class T>
  MonarchMixArrays<T> mix_arrays(const Workspace<T>& work, const ChannelGroup& g) const;
  template <class T>
  void mix_group(const Workspace<T>& work, const ChannelGroup& g, const MixerBatch<T>& batch, int threads) const;
  template <class T>
  void sum_parts(const T* u, const std::vector<SequenceRows>& sequences, std::span<const SequencePart> parts,
                 const std::vector<FirstRowFilters>& filters, float* sums) const;
  template <class T>
  void finish_first(const T* u, std::span<const SequenceRows> sequences, const float* sums, T* y) const;
  template <class T>
  void run_by_sequence(const T* u, const MixerBatch<T>& batch, std::span<const size_t> tasks, T* y, int threads) const;
  template <class T>
  void run_by_phase(const T* u, const MixerBatch<T>& batch, T* y, int threads) const;

  HostDtype in_dtype_, out_dtype_;
  int hidden_, block_width_;  // block_width_: columns of a block of the workspace
  bool residual_;
  std::vector<PackedWeight> in_;   // one for each block of its outputs
  std::vector<PackedWeight> out_;  // one
  std::vector<float> in_scale_, in_bias_, out_scale_, out_bias_, short_weight_, short_bias_;
};

}  // namespace m2bert::ops::cpu
