#pragma once
// The Monarch Mixer with both projections (mixer_block.h) as one kernel for inference: weights are packed once; filters are packed once per
// length, or computed on the fly.
#include <map>
#include <memory>
#include <optional>

#include "m2bert/ops/filter_network.h"
#include "m2bert/ops/mixer_block.h"

namespace m2bert::ops {

// The filters of a mixer for the first token's result alone: row s is the weight of token s. [L, H] float32; without filters of later
// positions (causal), only the first row.
struct FirstRowFilters {
  mx::array k;
  std::optional<mx::array> k2;  // of the second convolution
};
FirstRowFilters first_row_filters(const MixerFilters& filters, mx::StreamOrDevice s = {});

// Weights in the layout of the kernel. They are copies: they do not follow later changes of the originals. Thread-safe.
class PackedMixerBlock {
 public:
  virtual ~PackedMixerBlock() = default;

  // y = mixer_block(u, weights, filters), from packed filters or from filter networks. Networks compute the filters of a few channels at a
  // time and store none, so a long sequence needs little memory. u [B, L, H] has the dtype of the weights, float32 or bfloat16; if both are
  // int8, either. No gradient. Throws Error on wrong shapes or dtypes.
  virtual mx::array operator()(const mx::array& u, const mx::array& packed_filters, mx::StreamOrDevice s = {}) const = 0;
  virtual mx::array operator()(const mx::array& u, const FilterNetworks& filters, mx::StreamOrDevice s = {}) const = 0;

  // y = mixer_block of sequences of different lengths, u and y [nnz, H]; see monarch_mix_varlen. The time follows the lengths. The rows of
  // the filters of a sequence are filter_length(its length, l_max); l_max is the most rows in packed_filters, which has packed filters by
  // their rows, or in the networks. Sequences whose filters are not packed need the networks. Rows of u that are unused may have any
  // values, and get any. Throws Error unless supports_varlen().
  virtual bool supports_varlen() const { return false; }
  virtual int filter_length(int tokens, int l_max) const;
  // Sequences that begin at multiples of this, the longest first, take the least time (aligned_rows in padding.h).
  virtual int row_alignment() const { return 1; }
  virtual mx::array varlen(const mx::array& u, const CuSeqlens& cu_seqlens, const std::map<int, mx::array>& packed_filters,
                           const std::optional<FilterNetworks>& networks, mx::StreamOrDevice s = {}) const;

  // The first row of each sequence of varlen's y alone, [sequences, H], up to rounding, without the transforms. No sequence is empty. Each
  // is mixed with the filters of the least key that is not less than its length. The bits of a row do not depend on other sequences. Throws
  // Error unless supports_first().
  virtual bool supports_first() const { return false; }
  virtual mx::array first(const mx::array& u, const CuSeqlens& cu_seqlens, const std::map<int, FirstRowFilters>& filters,
                          mx::StreamOrDevice s = {}) const;

  // Filters [L, H] in the frequency domain, in the layout of the kernel for sequences of `dtype`, float32 or bfloat16 (which rounds them).
  // Throws Error unless the parts of the filters are consistent.
  virtual mx::array pack_filters(const MixerFilters& filters, mx::Dtype dtype, mx::StreamOrDevice s = {}) const = 0;
  virtual mx::array pack_filters(const FilterNetworks& networks, mx::Dtype dtype, mx::StreamOrDevice s = {}) const = 0;
  // Size of such an array in bytes.
  virtual size_t packed_filter_bytes(int L, mx::Dtype dtype) const = 0;
};

// Evaluates the weights. The two matrices have the same dtype, or one of them is int8. residual: whether the mixer has a second long
// convolution. Null if the device has no kernel for these shapes and dtypes.
std::unique_ptr<PackedMixerBlock> pack_mixer_block(const MixerWeights& weights, bool residual, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
