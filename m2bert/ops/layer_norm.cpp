#include "m2bert/ops/layer_norm.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/dtype.h"

namespace m2bert::ops {

namespace {
void check(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias) {
  require(x.ndim() >= 1 && weight.shape() == mx::Shape{x.shape(-1)} && bias.shape() == weight.shape(), "[layer_norm] x has shape ",
          x.shape(), ", weight ", weight.shape(), ", bias ", bias.shape());
  require_float("layer_norm", "x", x);
  require_float("layer_norm", "weight", weight);
  require_float("layer_norm", "bias", bias);
  if (residual) require_float("layer_norm", "residual", *residual);
  require(!residual || residual->shape() == x.shape(), "[layer_norm] the residual has another shape than x, ", x.shape());
}

mx::array composed(const mx::array& x, const mx::array& weight, const mx::array& bias, float eps, mx::StreamOrDevice s) {
  const auto x32 = mx::astype(x, mx::float32, s);
  const auto centred = mx::subtract(x32, mx::mean(x32, -1, true, s), s);
  const auto variance = mx::mean(mx::square(centred, s), -1, true, s);
  const auto normalised = mx::multiply(centred, mx::rsqrt(mx::add(variance, mx::array(eps), s), s), s);
  return mx::astype(mx::add(mx::multiply(normalised, weight, s), bias, s), x.dtype(), s);
}
}  // namespace

mx::array layer_norm_fallback(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias,
                              float eps, mx::StreamOrDevice s) {
  check(x, residual, weight, bias);
  auto sum = residual ? mx::add(x, *residual, s) : x;
  if (x.size() == 0) return sum;
  // In MLX 0.32's CUDA kernel one warp may write its part of the variance where another still reads the mean.
  const bool on_cuda = mx::cu::is_available() && mx::to_stream(s).device.type == mx::Device::gpu;
  return on_cuda ? composed(sum, weight, bias, eps, s) : mx::astype(mx::fast::layer_norm(sum, weight, bias, eps, s), sum.dtype(), s);
}

mx::array layer_norm(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias,
                     float eps, mx::StreamOrDevice s) {
  check(x, residual, weight, bias);
  if (auto y = backend_for(s).layer_norm(x, residual, weight, bias, eps, mx::to_stream(s))) return *y;
  return layer_norm_fallback(x, residual, weight, bias, eps, s);
}

}  // namespace m2bert::ops
