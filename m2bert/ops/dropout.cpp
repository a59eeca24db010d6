#include "m2bert/ops/dropout.h"

#include "m2bert/error.h"

namespace m2bert::ops {

namespace {

void check_p(const char* op, float p) { require(p >= 0 && p < 1, "[", op, "] p is ", p, ", wants 0 <= p < 1"); }

void check(const char* op, const mx::array& x, const mx::array& residual, float p) {
  check_p(op, p);
  require(residual.shape() == x.shape(), "[", op, "] x has shape ", x.shape(), ", residual has ", residual.shape());
  require(mx::issubdtype(x.dtype(), mx::floating) && residual.dtype() == x.dtype(), "[", op, "] x and residual are ", x.dtype(), ", ",
          residual.dtype(), ", want one floating dtype");
}

}  // namespace

mx::array dropout_kept(const mx::Shape& shape, float p, const mx::array& key, mx::StreamOrDevice s) {
  check_p("dropout_kept", p);
  return mx::random::bernoulli(mx::array(1 - p), shape, key, s);
}

mx::array dropout(const mx::array& x, float p, const mx::array& key, mx::StreamOrDevice s) {
  check_p("dropout", p);
  if (p == 0) return x;
  require(mx::issubdtype(x.dtype(), mx::floating), "[dropout] x is ", x.dtype(), ", wants floating point");
  auto scaled = mx::multiply(x, mx::array(1 / (1 - p), x.dtype()), s);
  return mx::where(dropout_kept(x.shape(), p, key, s), scaled, mx::array(0, x.dtype()), s);
}

mx::array fused_dropout_add(const mx::array& x, const mx::array& residual, float p, const std::optional<mx::array>& key,
                            mx::StreamOrDevice s) {
  check("fused_dropout_add", x, residual, p);
  return mx::add(key ? dropout(x, p, *key, s) : x, residual, s);
}

mx::array fused_bias_dropout_add(const mx::array& x, const mx::array& bias, const mx::array& residual, float p,
                                 const std::optional<mx::array>& key, mx::StreamOrDevice s) {
  check("fused_bias_dropout_add", x, residual, p);
  require(x.ndim() >= 1 && bias.shape() == mx::Shape({x.shape(-1)}) && bias.dtype() == x.dtype(), "[fused_bias_dropout_add] bias is ",
          bias.dtype(), " ", bias.shape(), ", wants the dtype of x (", x.dtype(), ") and its last axis (x has shape ", x.shape(), ")");
  return fused_dropout_add(mx::add(x, bias, s), residual, p, key, s);
}

}  // namespace m2bert::ops
