#include "m2bert/ops/backend/cuda/mixer_weights.h"

#include "m2bert/ops/backend/cuda/kernel.h"
#include "m2bert/ops/backend/cuda/mixer_core.h"
#include "m2bert/ops/backend/cuda/mixer_inputs.cuh"
#include "m2bert/ops/backend/cuda/scalar_dtype.h"

namespace m2bert::ops::cuda {

namespace {

constexpr int THREADS = 128;

// The small arrays as the kernels take them; in_bias: short_bias in its place where there is none.
struct ShortWeights {
  mx::array weight, bias, in_bias;
  int H;

  ShortWeights(const mx::array& short_weight, const mx::array& short_bias, const std::optional<mx::array>& in_bias, mx::Stream s)
      : weight(float_array(short_weight, s)),
        bias(float_array(short_bias, s)),
        in_bias(in_bias ? float_array(*in_bias, s) : bias),
        H(short_weight.shape(0) / 3) {}
  int wide() const { return wide_bits({weight, bias, in_bias}); }
};

}  // namespace

mx::array short_filter(const mx::array& short_weight, const mx::array& short_bias, const std::optional<mx::array>& in_bias, mx::Stream s) {
  const ShortWeights in(short_weight, short_bias, in_bias, s);
  const int rows = SHORT_FILTER_ROWS * in.H;
  return run({"mixer_weights", "mixer_short_filter", ceil_div(rows, THREADS), 1, THREADS}, {in.weight, in.bias, in.in_bias},
             {rows, SHORT_FILTER}, mx::float32, {in.H, in.wide(), in_bias.has_value()}, s);
}

ShortFilterGradient short_filter_gradient(const mx::array& short_weight, const mx::array& short_bias,
                                          const std::optional<mx::array>& in_bias, const mx::array& sums, mx::Stream s) {
  const ShortWeights in(short_weight, short_bias, in_bias, s);
  const auto out = run({"mixer_weights", "mixer_short_filter_gradient", ceil_div(3 * in.H, THREADS), 1, THREADS},
                       {sums, in.weight, in.in_bias}, {in.weight.shape(), in.bias.shape(), in.in_bias.shape()},
                       {in.weight.dtype(), in.bias.dtype(), in.in_bias.dtype()}, {in.H, sums.shape(0), in.wide(), in_bias.has_value()}, s);
  ShortFilterGradient gradient{mx::astype(out[0], short_weight.dtype(), s), mx::astype(out[1], short_bias.dtype(), s), {}};
  if (in_bias) gradient.in_bias = mx::astype(out[2], in_bias->dtype(), s);
  return gradient;
}

mx::array out_weight(const MixerWeights& w, mx::Stream s) {
  if (!w.out_bias) return w.out_weight.values;
  const auto x = float_array(w.out_weight.values, s), bias = float_array(*w.out_bias, s);
  const int rows = x.shape(0), columns = x.shape(1);
  return run({"mixer_weights", "mixer_out_weight", 1, rows, 256}, {x, bias}, {rows, columns + BIAS_ROWS}, x.dtype(),
             {columns, wide_bits({x, bias})}, s);
}

OutWeightGradient out_weight_gradient(const MixerWeights& w, const mx::array& gradient, mx::Stream s) {
  if (!w.out_bias) return {gradient, {}};
  const auto bias = float_array(*w.out_bias, s);
  const int rows = gradient.shape(0), columns = w.out_weight.values.shape(1);
  const auto out = run({"mixer_weights", "mixer_out_weight_gradient", 1, rows, 256}, {gradient}, {{rows, columns}, bias.shape()},
                       {gradient.dtype(), bias.dtype()}, {columns, wide_bits({gradient, bias})}, s);
  return {out[0], mx::astype(out[1], w.out_bias->dtype(), s)};
}

}  // namespace m2bert::ops::cuda
