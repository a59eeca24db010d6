#include "m2bert/nn/linear.h"

#include <cmath>

namespace m2bert::nn {

Linear::Linear(int in, int out, bool with_bias) : weight(mx::zeros({out, in})) {
  if (with_bias) bias = mx::zeros({out});
}

mx::array Linear::operator()(const mx::array& x) const { return ops::weight_matmul(x, matrix(), bias); }

void Linear::visit(Visitor& v) {
  v.matrix("weight", weight, weight_scale);
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
