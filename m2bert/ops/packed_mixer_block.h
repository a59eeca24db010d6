#pragma once
// The Monarch Mixer with both projections (mixer_block.h) for inference: one kernel, from weights packed once, and from filters packed once
// for a length or computed on the fly.
#include <memory>

#include "m2bert/ops/filter_network.h"
#include "m2bert/ops/mixer_block.h"

namespace m2bert::ops {

// Packed weights hold copies: they do not follow later changes of the arrays they were made from. Thread-safe.
class PackedMixerBlock {
 public:
  virtual ~PackedMixerBlock() = default;

  // y = mixer_block(u, weights, filters) from packed filters, or from filter networks: then only a few channels' filters are computed at a
  // time and none are stored, so that a long sequence needs little memory. u [B, L, H] float32 or bfloat16 like the weights; with int8
  // weights, either. No gradient. Throws Error when shapes or dtypes do not fit.
  virtual mx::array operator()(const mx::array& u, const mx::array& packed_filters, mx::StreamOrDevice s = {}) const = 0;
  virtual mx::array operator()(const mx::array& u, const FilterNetworks& filters, mx::StreamOrDevice s = {}) const = 0;

  // Filters [L, H] in the frequency domain, in the layout of the kernel for sequences of `dtype`, float32 or bfloat16 (rounded to it then).
  // Throws Error when the parts of the filters do not fit together.
  virtual mx::array pack_filters(const MixerFilters& filters, mx::Dtype dtype, mx::StreamOrDevice s = {}) const = 0;
  virtual mx::array pack_filters(const FilterNetworks& networks, mx::Dtype dtype, mx::StreamOrDevice s = {}) const = 0;
  // Bytes of such an array.
  virtual size_t packed_filter_bytes(int L, mx::Dtype dtype) const = 0;
};

// Evaluates the weights. residual: the mixer has a second long convolution. Null where the device has no such kernel: on the CPU for H that
// is not a multiple of 16, K other than 3, or projections that are not both float32, both bfloat16 (where supports_bfloat16_gemm()) or both
// int8 (where supports_int8_gemm()).
std::unique_ptr<PackedMixerBlock> pack_mixer_block(const MixerWeights& weights, bool residual, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
