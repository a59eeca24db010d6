#pragma once
// A mixer's weights as the channel-major products and mixer_core take them.
#include "m2bert/ops/mixer_block.h"

namespace m2bert::ops::cuda {

// [3 H, 8] float32, for the product without in_bias: see mixer_core.h.
mx::array short_filter(const MixerWeights& weights, mx::Stream s);

// [H, H], or with a bias [H, H + bias_rows()].
mx::array out_weight(const MixerWeights& weights, mx::Stream s);

}  // namespace m2bert::ops::cuda
