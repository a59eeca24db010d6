#pragma once
// MonarchMixer as an MLX primitive.
#include "m2bert/ops/prepared_mixer.h"

namespace m2bert::ops::kernels {

PreparedMixer prepare_mixer(const MixerWeights& weights, bool residual, mx::Stream s);
mx::array monarch_mixer(const mx::array& u, const PreparedMixer& prepared, const mx::array& filters, mx::Stream s);
mx::array monarch_mixer(const mx::array& u, const PreparedMixer& prepared, const FilterNetworks& filters, mx::Stream s);
size_t prepared_filter_bytes(int L, int H, mx::Dtype dtype);

}  // namespace m2bert::ops::kernels
