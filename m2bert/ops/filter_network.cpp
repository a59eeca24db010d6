#include "m2bert/ops/filter_network.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/filter_network_primitive.h"
#include "m2bert/ops/backend/backend.h"
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

void check_decay(const mx::array& x, const mx::array& times, const mx::array& deltas) {
  require(x.ndim() == 2 && times.shape() == mx::Shape{x.shape(0)} && deltas.shape() == mx::Shape{x.shape(1)},
          "[exponential_decay] x has shape ", x.shape(), ", times ", times.shape(), ", deltas ", deltas.shape(),
          ", want [L, H], [L] and [H]");
}

mx::array wide(const mx::array& x, mx::StreamOrDevice s) { return mx::astype(x, mx::float32, s); }

}  // namespace

mx::array sine_linear_fallback(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq,
                                mx::StreamOrDevice s) {
  check(x, weight, bias, freq);
  return mx::sin(mx::multiply(wide(freq, s), linear(wide(x, s), wide(weight, s), wide(bias, s), s), s), s);
}

mx::array sine_linear(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq, mx::StreamOrDevice s) {
  check(x, weight, bias, freq);
  if (x.size() == 0 || !cpu::cpu_kernels(s)) return sine_linear_fallback(x, weight, bias, freq, s);
  return cpu::sine_linear(x, weight, bias, freq, cpu::stream_of(s));
}

mx::array exponential_decay_fallback(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::StreamOrDevice s) {
  check_decay(x, times, deltas);
  auto t = mx::reshape(wide(times, s), {-1, 1}, s);
  return mx::multiply(wide(x, s), mx::exp(mx::negative(mx::multiply(t, mx::abs(wide(deltas, s), s), s), s), s), s);
}

mx::array exponential_decay(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::StreamOrDevice s) {
  check_decay(x, times, deltas);
  const bool learned = times.is_tracer() || deltas.is_tracer();
  if (learned || x.size() == 0 || !cpu::cpu_kernels(s)) return exponential_decay_fallback(x, times, deltas, s);
  return cpu::exponential_decay(x, times, deltas, cpu::stream_of(s));
}

}  // namespace m2bert::ops
