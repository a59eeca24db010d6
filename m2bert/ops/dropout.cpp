#include "m2bert/ops/dropout.h"

#include <functional>
#include <numeric>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/bias.h"
#include "m2bert/ops/dropout_mask.h"
#include "m2bert/ops/hash.h"

namespace m2bert::ops {

namespace {

void check_p(const char* op, float p) { require(p >= 0 && p < 1, "[", op, "] p is ", p, ", wants 0 <= p < 1"); }

void check_key(const char* op, const mx::array& key) {
  require(key.dtype() == mx::uint32 && key.shape() == mx::Shape{2}, "[", op, "] key is ", key.dtype(), " of shape ", key.shape(),
          ", wants what mx::random::key gives");
}

void check(const mx::array& x, float p, const mx::array& key) {
  check_p("dropout", p);
  check_key("dropout", key);
  require(p == 0 || mx::issubdtype(x.dtype(), mx::floating), "[dropout] x is ", x.dtype(), ", wants floating point");
}

void check(const char* op, const mx::array& x, const mx::array& residual, float p) {
  check_p(op, p);
  require(residual.shape() == x.shape(), "[", op, "] x has shape ", x.shape(), ", residual has ", residual.shape());
  require(mx::issubdtype(x.dtype(), mx::floating) && residual.dtype() == x.dtype(), "[", op, "] x and residual are ", x.dtype(), ", ",
          residual.dtype(), ", want one floating dtype");
}

}  // namespace

mx::array dropout_kept(const mx::Shape& shape, float p, const mx::array& key, mx::StreamOrDevice s) {
  check_p("dropout_kept", p);
  check_key("dropout_kept", key);
  const int n = std::accumulate(shape.begin(), shape.end(), 1, std::multiplies<>());
  const int lines = (n + kDropoutLine - 1) / kDropoutLine;
  auto line = mx::reshape(mx::arange(lines, mx::uint32, s), {lines, 1}, s);
  auto of_line = [&](int word) { return hash_mix(mx::add(mx::slice(key, {word}, {word + 1}, s), line, s), s); };
  auto step = mx::bitwise_or(of_line(1), mx::array(1u), s);
  auto places = mx::multiply(step, mx::arange(kDropoutLine, mx::uint32, s), s);
  auto hashed = hash_mix(mx::add(places, of_line(0), s), s);
  auto kept = mx::greater_equal(hashed, mx::array(dropout_threshold(p)), s);
  return mx::reshape(mx::slice(mx::reshape(kept, {-1}, s), {0}, {n}, s), shape, s);
}

mx::array dropout_fallback(const mx::array& x, float p, const mx::array& key, mx::StreamOrDevice s) {
  check(x, p, key);
  if (p == 0) return x;
  auto scaled = mx::multiply(x, mx::array(1 / (1 - p), x.dtype()), s);
  return mx::where(dropout_kept(x.shape(), p, key, s), scaled, mx::array(0, x.dtype()), s);
}

mx::array dropout(const mx::array& x, float p, const mx::array& key, mx::StreamOrDevice s) {
  check(x, p, key);
  if (p == 0) return x;
  if (auto y = backend_for(s).dropout(x, p, key, mx::to_stream(s))) return *y;
  return dropout_fallback(x, p, key, s);
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
  return fused_dropout_add(add_bias(x, bias, s), residual, p, key, s);
}

}  // namespace m2bert::ops
