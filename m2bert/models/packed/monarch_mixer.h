#pragma once
// A Monarch Mixer layer packed for inference: its weights in the layout of one kernel, and a cache of its filters.
#include <memory>
#include <optional>

#include "m2bert/models/packed/filter_cache.h"
#include "m2bert/nn/hyena_filter.h"
#include "m2bert/ops/packed_mixer_block.h"

namespace m2bert::models::packed {

// Holds copies of the weights, and references to the filter modules, which must outlive it and must not change. Not thread-safe, because
// calls fill its caches.
class MonarchMixer {
 public:
  // cache_bytes: upper limit for cached filters. Evaluates the weights.
  MonarchMixer(const ops::MixerWeights& weights, const nn::HyenaFilter& filter, const std::optional<nn::HyenaFilter>& residual,
               size_t cache_bytes);

  // Whether the device has a kernel for the whole mixer. Only then may the next function be called: y = mixer(u), both [B, L, H].
  bool is_fused() const { return block_ != nullptr; }
  mx::array operator()(const mx::array& u);

  // The same for sequences of different lengths, u and y [nnz, H], if there is a kernel for them.
  bool is_fused_varlen() const { return block_ && block_->supports_varlen(); }
  int row_alignment() const { return is_fused_varlen() ? block_->row_alignment() : 1; }
  mx::array varlen(const mx::array& u, const ops::CuSeqlens& cu_seqlens);

  // The first rows of sequences of rows u [nnz, H] alone, [sequences, H], if there is a kernel for them. No sequence is empty.
  bool is_fused_first() const;
  mx::array first(const mx::array& u, const ops::CuSeqlens& cu_seqlens);

  // The filters with their spectra, for ops::monarch_mix if there is no such kernel.
  ops::MixerFilters filters(int L);

 private:
  const mx::array* packed_filters(const mx::array& u, int L);
  ops::FirstRowFilters first_filters(int L);

  std::unique_ptr<ops::PackedMixerBlock> block_;
  const nn::HyenaFilter& filter_;
  const std::optional<nn::HyenaFilter>& residual_;
  FilterCache<mx::array> packed_filters_;
  FilterCache<ops::MixerFilters> filters_;
  FilterCache<ops::FirstRowFilters> first_filters_;
};

}  // namespace m2bert::models::packed
