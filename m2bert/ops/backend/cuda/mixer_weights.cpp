#include "m2bert/ops/backend/cuda/mixer_weights.h"

#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/mixer_core.h"

namespace m2bert::ops::cuda {

// What the convolution adds up of in_bias b is part of its bias; before position 0, where it reads 0, the product without b is -b.
mx::array short_filter(const MixerWeights& w, mx::Stream s) {
  const int C = w.short_weight.shape(0);
  const auto taps = mx::reshape(float32(w.short_weight, s), {C, 3}, s);
  auto bias = mx::reshape(float32(w.short_bias, s), {C, 1}, s), before = mx::zeros({C, 1}, mx::float32, s);
  if (w.in_bias) {
    const auto b = mx::reshape(float32(*w.in_bias, s), {C, 1}, s);
    bias = mx::add(bias, mx::multiply(b, mx::sum(taps, 1, true, s), s), s);
    before = mx::negative(b, s);
  }
  return mx::concatenate({taps, bias, before, mx::zeros({C, 3}, mx::float32, s)}, 1, s);
}

// The bias is the column that meets mixer_core's row of ones.
mx::array out_weight(const MixerWeights& w, mx::Stream s) {
  if (!w.out_bias) return w.out_weight.values;
  const auto dtype = w.out_weight.values.dtype();
  const int H = w.out_weight.values.shape(0);
  const auto bias = mx::reshape(mx::astype(*w.out_bias, dtype, s), {H, 1}, s);
  return mx::concatenate({w.out_weight.values, bias, mx::zeros({H, bias_rows() - 1}, dtype, s)}, 1, s);
}

}  // namespace m2bert::ops::cuda
