#include "m2bert/ops/layer_norm.h"

#include "m2bert/error.h"
#include "m2bert/ops/kernels/kernel.h"
#include "m2bert/ops/kernels/pointwise.h"

namespace m2bert::ops {

namespace {
void check(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias) {
  require(x.ndim() >= 1 && weight.shape() == mx::Shape{x.shape(-1)} && bias.shape() == weight.shape(), "[layer_norm] x has shape ",
          x.shape(), ", weight ", weight.shape(), ", bias ", bias.shape());
  require(!residual || residual->shape() == x.shape(), "[layer_norm] the residual has another shape than x, ", x.shape());
}
}  // namespace

mx::array layer_norm_reference(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias,
                               float eps, mx::StreamOrDevice s) {
  check(x, residual, weight, bias);
  return mx::fast::layer_norm(residual ? mx::add(x, *residual, s) : x, weight, bias, eps, s);
}

mx::array layer_norm(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias,
                     float eps, mx::StreamOrDevice s) {
  check(x, residual, weight, bias);
  if (!kernels::pointwise_takes(x, s)) return layer_norm_reference(x, residual, weight, bias, eps, s);
  return kernels::add_layer_norm(x, residual, weight, bias, eps, kernels::stream_of(s));
}

}  // namespace m2bert::ops
