#include "m2bert/ops/activation.h"

#include <cmath>
#include <numbers>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/dtype.h"

namespace m2bert::ops {

namespace {
void check_gate(const mx::array& x) {
  require(x.ndim() >= 1 && x.shape(-1) % 2 == 0, "[gelu_gate] x has shape ", x.shape(), ", wants an even last axis");
  require_float("gelu_gate", "x", x);
}
}  // namespace

mx::array gelu(const mx::array& x, mx::StreamOrDevice s) {
  if (auto y = backend_for(s).gelu(x, mx::to_stream(s))) return *y;
  return gelu_fallback(x, s);
}

mx::array gelu_fallback(const mx::array& x, mx::StreamOrDevice s) {
  require_float("gelu", "x", x);
  const auto x32 = mx::astype(x, mx::float32, s);  // in half precision 1 + erf would lose most digits
  const auto cdf = mx::multiply(mx::add(mx::erf(mx::multiply(x32, mx::array(float(1 / std::numbers::sqrt2)), s), s), mx::array(1.0f), s),
                                mx::array(0.5f), s);
  return mx::astype(mx::multiply(x32, cdf, s), x.dtype(), s);
}

mx::array gelu_tanh(const mx::array& x, mx::StreamOrDevice s) {
  if (auto y = backend_for(s).gelu_tanh(x, mx::to_stream(s))) return *y;
  return gelu_tanh_fallback(x, s);
}

mx::array gelu_tanh_fallback(const mx::array& x, mx::StreamOrDevice s) {
  require_float("gelu_tanh", "x", x);
  // (1 + tanh(z)) / 2 is sigmoid(2 z).
  const float linear = float(2 * std::sqrt(2 / std::numbers::pi)), cubic = linear * 0.044715f;
  const auto x32 = mx::astype(x, mx::float32, s);
  const auto near = mx::clip(x32, mx::array(-12.0f), mx::array(12.0f), s);  // beyond, the sigmoid is 0 or 1, and the cube could overflow
  const auto slope = mx::add(mx::multiply(mx::square(near, s), mx::array(cubic), s), mx::array(linear), s);
  return mx::astype(mx::multiply(x32, mx::sigmoid(mx::multiply(near, slope, s), s), s), x.dtype(), s);
}

mx::array gelu_gate_fallback(const mx::array& x, mx::StreamOrDevice s) {
  check_gate(x);
  auto halves = mx::split(x, 2, -1, s);
  return mx::multiply(gelu_fallback(halves[0], s), halves[1], s);
}

mx::array gelu_gate(const mx::array& x, mx::StreamOrDevice s) {
  check_gate(x);
  if (auto y = backend_for(s).gelu_gate(x, mx::to_stream(s))) return *y;
  return gelu_gate_fallback(x, s);
}

mx::array activate(Activation activation, const mx::array& x, mx::StreamOrDevice s) {
  switch (activation) {
    case Activation::gelu: return gelu(x, s);
    case Activation::gelu_tanh: return gelu_tanh(x, s);
    case Activation::relu: return mx::maximum(x, mx::array(0, x.dtype()), s);
    case Activation::silu: return mx::multiply(x, mx::sigmoid(x, s), s);
    case Activation::tanh: return mx::tanh(x, s);
  }
  fail("[activate] unknown activation");
}

}  // namespace m2bert::ops
