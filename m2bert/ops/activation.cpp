#include "m2bert/ops/activation.h"

#include <cmath>
#include <numbers>

namespace m2bert::ops {

mx::array gelu(const mx::array& x, mx::StreamOrDevice s) {
  auto half = mx::array(0.5f, x.dtype()), one = mx::array(1.0f, x.dtype()), r = mx::array(float(1 / std::numbers::sqrt2), x.dtype());
  return mx::multiply(mx::multiply(x, half, s), mx::add(one, mx::erf(mx::multiply(x, r, s), s), s), s);
}

mx::array gelu_tanh(const mx::array& x, mx::StreamOrDevice s) {
  auto value = [&](double v) { return mx::array(float(v), x.dtype()); };
  auto cube = mx::multiply(mx::multiply(x, x, s), x, s);
  auto inner = mx::multiply(value(std::sqrt(2 / std::numbers::pi)), mx::add(x, mx::multiply(value(0.044715), cube, s), s), s);
  return mx::multiply(mx::multiply(value(0.5), x, s), mx::add(value(1), mx::tanh(inner, s), s), s);
}

}  // namespace m2bert::ops
