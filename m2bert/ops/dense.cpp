#include "m2bert/ops/dense.h"

#include "m2bert/error.h"
#include "m2bert/ops/activation.h"
#include "m2bert/ops/linear.h"

namespace m2bert::ops {

namespace {

void check(const char* op, const mx::array& x, const mx::array& weight, const mx::array& bias) {
  require(weight.ndim() == 2, "[", op, "] weight has shape ", weight.shape(), ", wants [out, in]");
  require(x.ndim() >= 1 && x.shape(-1) == weight.shape(1), "[", op, "] x has shape ", x.shape(), ", weight wants ", weight.shape(1),
          " columns");
  require(bias.ndim() == 1 && bias.shape(0) == weight.shape(0), "[", op, "] bias has shape ", bias.shape(), ", wants [", weight.shape(0),
          "]");
  const bool same = weight.dtype() == x.dtype() && bias.dtype() == x.dtype();
  require(same && mx::issubdtype(x.dtype(), mx::floating), "[", op, "] x, weight and bias are ", x.dtype(), ", ", weight.dtype(), ", ",
          bias.dtype(), ", want one floating dtype");
}

}  // namespace

mx::array fused_dense(const mx::array& x, const mx::array& weight, const mx::array& bias, mx::StreamOrDevice s) {
  check("fused_dense", x, weight, bias);
  return linear(x, weight, bias, s);
}

mx::array fused_dense_fallback(const mx::array& x, const mx::array& weight, const mx::array& bias, mx::StreamOrDevice s) {
  check("fused_dense", x, weight, bias);
  return linear_fallback(x, weight, bias, s);
}

mx::array fused_dense_gelu(const mx::array& x, const mx::array& weight, const mx::array& bias, GeluKind kind, mx::StreamOrDevice s) {
  check("fused_dense_gelu", x, weight, bias);
  auto y = linear(x, weight, bias, s);
  return kind == GeluKind::exact ? gelu(y, s) : gelu_tanh(y, s);
}

mx::array fused_dense_gelu_fallback(const mx::array& x, const mx::array& weight, const mx::array& bias, GeluKind kind,
                                    mx::StreamOrDevice s) {
  check("fused_dense_gelu", x, weight, bias);
  auto y = linear_fallback(x, weight, bias, s);
  return kind == GeluKind::exact ? gelu_fallback(y, s) : gelu_tanh_fallback(y, s);
}

}  // namespace m2bert::ops
