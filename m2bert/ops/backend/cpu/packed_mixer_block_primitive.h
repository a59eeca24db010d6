#pragma once
// PackedMixerBlockHost as an MLX primitive.
#include "m2bert/ops/packed_mixer_block.h"

namespace m2bert::ops::cpu {

PackedMixerBlock pack_mixer_block(const MixerWeights& weights, bool residual, mx::Stream s);
mx::array mixer_block(const mx::array& u, const PackedMixerBlock& prepared, const mx::array& filters, mx::Stream s);
mx::array mixer_block(const mx::array& u, const PackedMixerBlock& prepared, const FilterNetworks& filters, mx::Stream s);
size_t packed_filter_bytes(int L, int H, mx::Dtype dtype);

}  // namespace m2bert::ops::cpu
