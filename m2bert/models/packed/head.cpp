#include "m2bert/models/packed/head.h"

namespace m2bert::models::packed {

namespace {

constexpr int kOutputs = 16;  // the kernels want a multiple of it

mx::array with_more_rows(const mx::array& x, int more) {
  return more == 0 ? x : mx::pad(x, std::vector<int>{0}, mx::Shape{0}, mx::Shape{more}, mx::array(0.0f));
}

}  // namespace

mx::array Head::operator()(const mx::array& x) const {
  const auto y = (*linear_)(mx::astype(x, mx::float32));
  if (y.shape(-1) == out_) return y;
  auto end = y.shape();
  end.back() = out_;
  return mx::slice(y, mx::Shape(y.ndim(), 0), end);
}

std::unique_ptr<Head> pack_head(const ops::LinearWeights& weights) {
  if (weights.weight.scale) return nullptr;
  auto head = std::make_unique<Head>();
  head->out_ = weights.weight.values.shape(0);
  const int more = (kOutputs - head->out_ % kOutputs) % kOutputs;
  ops::LinearWeights whole{with_more_rows(mx::astype(weights.weight.values, mx::float32), more)};
  if (weights.bias) whole.bias = with_more_rows(mx::astype(*weights.bias, mx::float32), more);
  head->linear_ = ops::pack_linear({whole});
  return head->linear_ ? std::move(head) : nullptr;
}

}  // namespace m2bert::models::packed
