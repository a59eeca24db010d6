#pragma once
// A mixer's weights as the channel-major products and mixer_core take them, and their gradients. The small arrays may be float32 or
// bfloat16.
#include "m2bert/ops/mixer_block.h"

namespace m2bert::ops::cuda {

// [5 H, 8] float32, for the product without in_bias: see mixer_core.h. No gradient.
mx::array short_filter(const mx::array& short_weight, const mx::array& short_bias, const std::optional<mx::array>& in_bias, mx::Stream s);

// From those of its first 3 H rows, sums [parts, 3 H, 8] to add up; in the shapes and dtypes of the weights.
struct ShortFilterGradient {
  mx::array weight, bias;
  std::optional<mx::array> in_bias;
};
ShortFilterGradient short_filter_gradient(const mx::array& short_weight, const mx::array& short_bias,
                                          const std::optional<mx::array>& in_bias, const mx::array& sums, mx::Stream s);

// [H, H], or with a bias, the column that meets mixer_core's row of ones, [H, H + BIAS_ROWS]. No gradient.
mx::array out_weight(const MixerWeights& weights, mx::Stream s);

// From that of out_weight().
struct OutWeightGradient {
  mx::array weight;
  std::optional<mx::array> bias;
};
OutWeightGradient out_weight_gradient(const MixerWeights& weights, const mx::array& gradient, mx::Stream s);

}  // namespace m2bert::ops::cuda
