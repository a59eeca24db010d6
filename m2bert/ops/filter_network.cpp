#include "m2bert/ops/filter_network.h"

#include "m2bert/error.h"
#include "m2bert/ops/kernels/filter_network.h"
#include "m2bert/ops/kernels/kernel.h"
#include "m2bert/ops/linear.h"

namespace m2bert::ops {

namespace {

void check(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq) {
  require(x.ndim() == 2 && weight.ndim() == 2 && weight.shape(1) == x.shape(1), "[sine_linear] x has shape ", x.shape(), ", weight ",
          weight.shape(), ", want [L, in] and [out, in]");
  const mx::Shape columns{weight.shape(0)};
  require(bias.shape() == columns && freq.shape() == columns, "[sine_linear] bias has shape ", bias.shape(), ", freq ", freq.shape(),
          ", want ", columns);
}

mx::array wide(const mx::array& x, mx::StreamOrDevice s) { return mx::astype(x, mx::float32, s); }

}  // namespace

mx::array sine_linear_reference(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq,
                                mx::StreamOrDevice s) {
  check(x, weight, bias, freq);
  return mx::sin(mx::multiply(wide(freq, s), linear(wide(x, s), wide(weight, s), wide(bias, s), s), s), s);
}

mx::array sine_linear(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq, mx::StreamOrDevice s) {
  check(x, weight, bias, freq);
  const bool traced = x.is_tracer() || weight.is_tracer() || bias.is_tracer() || freq.is_tracer();
  if (traced || x.size() == 0 || !kernels::cpu_kernels(s)) return sine_linear_reference(x, weight, bias, freq, s);
  return kernels::sine_linear(x, weight, bias, freq, kernels::stream_of(s));
}

}  // namespace m2bert::ops
