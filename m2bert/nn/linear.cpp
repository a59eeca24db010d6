#include "m2bert/nn/linear.h"

#include <cmath>

#include "m2bert/error.h"

namespace m2bert::nn {

Linear::Linear(int in, int out, bool with_bias) : weight(mx::zeros({out, in})) {
  if (with_bias) bias = mx::zeros({out});
}

mx::array Linear::operator()(const mx::array& x) const {
  require(x.ndim() >= 1 && x.shape(-1) == weight.shape(1), "[Linear] x has shape ", x.shape(), ", weight wants ", weight.shape(1), " columns");
  return bias ? mx::addmm(*bias, x, mx::transpose(weight)) : mx::matmul(x, mx::transpose(weight));
}

void Linear::visit(Visitor& v) {
  v("weight", weight);
  v("bias", bias);
}

void Linear::init_normal(float deviation, KeySequence& keys) {
  weight = normal(weight.shape(), deviation, keys);
  if (bias) bias = mx::zeros(bias->shape());
}

void Linear::init_uniform(KeySequence& keys) {
  const float bound = 1 / std::sqrt(float(weight.shape(1)));
  weight = uniform(weight.shape(), bound, keys);
  if (bias) bias = uniform(bias->shape(), bound, keys);
}

}  // namespace m2bert::nn
