#include "m2bert/ops/linear.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/bias.h"

namespace m2bert::ops {

namespace {
void check(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias) {
  require(weight.ndim() == 2, "[linear] weight has shape ", weight.shape(), ", wants [out, in]");
  require(x.ndim() >= 1 && x.shape(-1) == weight.shape(1), "[linear] x has shape ", x.shape(), ", weight wants ", weight.shape(1),
          " columns");
  require(!bias || (bias->ndim() == 1 && bias->shape(0) == weight.shape(0)), "[linear] bias does not have ", weight.shape(0), " values");
}
}  // namespace

mx::array linear_fallback(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, mx::StreamOrDevice s) {
  check(x, weight, bias);
  if (x.size() == 0) {  // MLX's CUDA matmul divides by 0 if there are no rows
    auto shape = x.shape();
    shape.back() = weight.shape(0);
    return mx::zeros(shape, x.dtype(), s);
  }
  auto w = mx::transpose(weight, s);
  if (!bias) return mx::astype(mx::matmul(x, w, s), x.dtype(), s);
  auto shape = x.shape();
  shape.back() = weight.shape(0);
  const auto rows = mx::reshape(x, {-1, x.shape(-1)}, s);
  const auto c = broadcast_bias(*bias, {rows.shape(0), weight.shape(0)}, bias->dtype(), s);
  return mx::astype(mx::reshape(mx::addmm(c, rows, w, 1.0f, 1.0f, s), shape, s), x.dtype(), s);
}

mx::array linear(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, mx::StreamOrDevice s) {
  check(x, weight, bias);
  const auto one_block = mx::reshape(weight, {1, weight.shape(0), weight.shape(1)}, s);
  if (auto y = backend_for(s).blockdiag_multiply(x, one_block, bias, mx::to_stream(s))) return *y;
  return linear_fallback(x, weight, bias, s);
}

}  // namespace m2bert::ops
