#include "m2bert/nn/loss.h"

#include "m2bert/error.h"

namespace m2bert::nn {

namespace {
// -log softmax(logits)[label], [...] float32
mx::array negative_log_likelihood(const mx::array& logits, const mx::array& labels) {
  auto l = mx::astype(logits, mx::float32);
  auto picked = mx::squeeze(mx::take_along_axis(l, mx::expand_dims(mx::astype(labels, mx::int32), -1), -1), -1);
  return mx::logsumexp(l, -1) - picked;
}
}  // namespace

mx::array cross_entropy(const mx::array& logits, const mx::array& labels) {
  require(logits.ndim() == 2 && labels.ndim() == 1 && labels.shape(0) == logits.shape(0), "[cross_entropy] logits have shape ",
          logits.shape(), ", labels ", labels.shape(), ", want [n, classes] and [n]");
  return mx::mean(negative_log_likelihood(logits, labels));
}

mx::array masked_cross_entropy(const mx::array& logits, const mx::array& labels, const mx::array& counts) {
  require(logits.ndim() == labels.ndim() + 1, "[masked_cross_entropy] logits have shape ", logits.shape(), ", labels ", labels.shape(),
          ", want [..., classes] and [...]");
  auto each = negative_log_likelihood(logits, mx::maximum(labels, mx::array(0, labels.dtype())));
  return mx::sum(mx::where(counts, each, mx::array(0.0f))) / mx::sum(mx::astype(counts, mx::float32));
}

mx::array mse(const mx::array& prediction, const mx::array& target) {
  require(prediction.shape() == target.shape(), "[mse] prediction has shape ", prediction.shape(), ", target ", target.shape());
  return mx::mean(mx::square(mx::astype(prediction, mx::float32) - mx::astype(target, mx::float32)));
}

mx::array bce_with_logits(const mx::array& logits, const mx::array& target) {
  require(logits.shape() == target.shape(), "[bce_with_logits] logits have shape ", logits.shape(), ", target ", target.shape());
  auto l = mx::astype(logits, mx::float32), y = mx::astype(target, mx::float32);
  // max(l, 0) - l y + log(1 + exp(-|l|)): no overflow
  return mx::mean(mx::maximum(l, mx::array(0.0f)) - l * y + mx::log1p(mx::exp(-mx::abs(l))));
}

}  // namespace m2bert::nn
