#include "m2bert/nn/loss.h"

#include "m2bert/error.h"
#include "m2bert/ops/cross_entropy.h"

namespace m2bert::nn {

mx::array cross_entropy(const mx::array& logits, const mx::array& labels) {
  require(logits.ndim() == 2 && labels.ndim() == 1 && labels.shape(0) == logits.shape(0), "[cross_entropy] logits have shape ",
          logits.shape(), ", labels ", labels.shape(), ", want [n, classes] and [n]");
  return mx::mean(ops::cross_entropy_rows(logits, labels));
}

mx::array mse(const mx::array& prediction, const mx::array& target) {
  require(prediction.shape() == target.shape(), "[mse] prediction has shape ", prediction.shape(), ", target ", target.shape());
  return mx::mean(mx::square(mx::astype(prediction, mx::float32) - mx::astype(target, mx::float32)));
}

mx::array bce_with_logits(const mx::array& logits, const mx::array& target) {
  require(logits.shape() == target.shape(), "[bce_with_logits] logits have shape ", logits.shape(), ", target ", target.shape());
  auto l = mx::astype(logits, mx::float32), y = mx::astype(target, mx::float32);
  // max(l, 0) - l y + log(1 + exp(-|l|)) does not overflow
  return mx::mean(mx::maximum(l, mx::array(0.0f)) - l * y + mx::log1p(mx::exp(-mx::abs(l))));
}

}  // namespace m2bert::nn
