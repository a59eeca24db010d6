#include "m2bert/nn/blockdiag_linear.h"

#include <cmath>

#include "m2bert/error.h"
#include "m2bert/ops/bias.h"
#include "m2bert/ops/rearrange.h"

namespace m2bert::nn {

namespace {
int ceil_div(int a, int b) { return (a + b - 1) / b; }
}  // namespace

BlockdiagLinear::BlockdiagLinear(int in, int out, int nblocks, bool with_bias, bool shuffle)
    : weight(mx::zeros({nblocks, ceil_div(out, nblocks), ceil_div(in, nblocks)})), in_(in), out_(out), shuffle_(shuffle) {
  if (with_bias) bias = mx::zeros({out});
}

mx::array BlockdiagLinear::operator()(const mx::array& x) const {
  require(x.ndim() >= 1 && x.shape(-1) == in_, "[BlockdiagLinear] x has shape ", x.shape(), ", wants ", in_, " columns");
  const int in_padded = weight.shape(0) * weight.shape(2), out_padded = weight.shape(0) * weight.shape(1);
  auto padded = in_padded == in_ ? x : mx::pad(x, std::vector<int>{-1}, mx::Shape{0}, mx::Shape{in_padded - in_});
  if (shuffle_) padded = ops::rearrange(padded, "... (group c) -> ... (c group)", {{"group", weight.shape(0)}});
  if (out_padded == out_) return ops::weight_matmul(padded, matrix(), bias);
  auto y = ops::weight_matmul(padded, matrix());
  auto stop = y.shape();
  stop.back() = out_;
  y = mx::slice(y, mx::Shape(y.ndim(), 0), stop);
  return bias ? ops::add_bias(y, *bias) : y;
}

bool BlockdiagLinear::is_plain() const {
  return !shuffle_ && weight.shape(0) * weight.shape(1) == out_ && weight.shape(0) * weight.shape(2) == in_;
}

void BlockdiagLinear::visit(Visitor& v) {
  v("bias", bias);
  v.matrix("weight", weight, weight_scale);
}

void BlockdiagLinear::init(KeySequence& keys) {
  const float nblocks = float(weight.shape(0)), in_padded = nblocks * float(weight.shape(2));
  weight = uniform(weight.shape(), std::sqrt(nblocks) / std::sqrt(in_padded), keys);
  if (bias) bias = uniform(bias->shape(), 1 / std::sqrt(float(out_)), keys);
}

}  // namespace m2bert::nn
