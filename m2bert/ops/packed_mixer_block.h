#pragma once
// The whole mixer for inference on the CPU: one kernel from weights that were laid out once, and from filters prepared once for a length
// or computed in passing.
#include <memory>
#include <optional>

#include "m2bert/ops/filter_network.h"
#include "m2bert/ops/monarch_mix.h"

namespace m2bert::ops {

namespace cpu {
class PackedMixerBlockHost;
}
using PackedMixerBlock = std::shared_ptr<const cpu::PackedMixerBlockHost>;

// Null where the kernel does not take these: another device, H no multiple of 16, K other than 3, weights of other dtypes than float32,
// bfloat16 (with AVX-512) and int8, or both of different ones. Evaluates the weights. residual: there is a second long convolution.
PackedMixerBlock pack_mixer_block(const MixerWeights& weights, bool residual, mx::StreamOrDevice s = {});

// Filters [L, H] in the frequency domain as the kernel wants them for texts of `dtype`, float32 or bfloat16 (rounded to it then), in
// packed_filter_bytes of memory: 4 to 8 L H floats, half as much for bfloat16. Throws Error when their parts do not fit together.
mx::array pack_filters(const MixerFilters& filters, mx::Dtype dtype = mx::float32, mx::StreamOrDevice s = {});
mx::array pack_filters(const FilterNetworks& networks, mx::Dtype dtype = mx::float32, mx::StreamOrDevice s = {});
size_t packed_filter_bytes(int L, int H, mx::Dtype dtype);

// y = mixer_block(u, weights, filters) without a gradient, from prepared filters, or from networks: then a few channels' filters are
// computed at a time and none are kept, so that a long text needs little memory. u [B, L, H] float32 or bfloat16, as the weights are; for
// int8 either. Throws Error when shapes or dtypes do not fit.
mx::array mixer_block(const mx::array& u, const PackedMixerBlock& prepared, const mx::array& filters, mx::StreamOrDevice s = {});
mx::array mixer_block(const mx::array& u, const PackedMixerBlock& prepared, const FilterNetworks& filters, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
