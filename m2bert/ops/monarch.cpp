#include "m2bert/ops/monarch.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/bias.h"

namespace m2bert::ops {

namespace {

bool inexact(const mx::array& x) { return mx::issubdtype(x.dtype(), mx::inexact); }

void check(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias) {
  require(weight.ndim() == 3, "[blockdiag_multiply] weight has shape ", weight.shape(), ", wants [nb, q, p]");
  const int nb = weight.shape(0), q = weight.shape(1), p = weight.shape(2);
  require(x.ndim() >= 1 && x.shape(-1) == nb * p, "[blockdiag_multiply] x has shape ", x.shape(), ", weight wants ", nb, " x ", p,
          " columns");
  require(!bias || (bias->ndim() == 1 && bias->shape(0) == nb * q), "[blockdiag_multiply] bias does not have ", nb, " x ", q, " values");
  require(inexact(x) && inexact(weight), "[blockdiag_multiply] x is ", x.dtype(), " and weight ", weight.dtype(),
          "; both must be floating or complex");
}

mx::Shape with_columns(const mx::array& x, int columns) {
  auto shape = x.shape();
  shape.back() = columns;
  return shape;
}

mx::array no_products(const mx::array& x, const mx::array& weight, mx::StreamOrDevice s) {
  return mx::zeros(with_columns(x, weight.shape(0) * weight.shape(1)), mx::promote_types(x.dtype(), weight.dtype()), s);
}

// Transposes x's columns from [a, b, c] to [b, a, c].
mx::array swap_columns(const mx::array& x, int a, int b, int c, mx::StreamOrDevice s) {
  if (a == 1 || b == 1) return x;
  auto split = x.shape();
  split.pop_back();
  for (int size : {a, b, c}) split.push_back(size);
  return mx::reshape(mx::swapaxes(mx::reshape(x, split, s), -3, -2, s), x.shape(), s);
}

void check_pair(const char* op, const mx::array& x, const mx::array& w1, const mx::array& w2) {
  require(w1.ndim() == 3, "[", op, "] w1 has shape ", w1.shape(), ", wants three dimensions");
  require(w2.ndim() == 3, "[", op, "] w2 has shape ", w2.shape(), ", wants three dimensions");
  require(x.ndim() >= 1 && x.shape(-1) == w1.shape(0) * w1.shape(2), "[", op, "] x has shape ", x.shape(), ", w1 wants ", w1.shape(0),
          " x ", w1.shape(2), " columns");
  require(inexact(x) && inexact(w1) && inexact(w2), "[", op, "] x is ", x.dtype(), ", w1 ", w1.dtype(), " and w2 ", w2.dtype(),
          "; all must be floating or complex");
}

using Multiply = decltype(blockdiag_multiply);

mx::array butterfly(Multiply& multiply, const mx::array& x, const mx::array& w1, const mx::array& w2, mx::StreamOrDevice s) {
  check_pair("blockdiag_butterfly_multiply", x, w1, w2);
  const int k = w1.shape(0), q = w1.shape(1), l = w2.shape(0), rows = w2.shape(1), r = w2.shape(2);
  require(l * r == k * q, "[blockdiag_butterfly_multiply] w1 ", w1.shape(), " gives ", k, " x ", q, " columns, w2 ", w2.shape(), " wants ",
          l, " x ", r);
  auto z = swap_columns(multiply(x, w1, std::nullopt, s), r, l, 1, s);
  return swap_columns(multiply(z, w2, std::nullopt, s), l, rows, 1, s);
}

// b1 of w1 [k, (j b1), i] and w2 [j, ., (k b1)].
int inner_rank(const char* op, const mx::array& w1, const mx::array& w2) {
  const int k = w1.shape(0), j = w2.shape(0), rank = j > 0 ? w1.shape(1) / j : 0;
  require(w1.shape(1) == j * rank && w2.shape(2) == k * rank, "[", op, "] w1 has shape ", w1.shape(), ", w2 ", w2.shape(),
          "; w1 wants a multiple of ", j, " rows, and w2 the same multiple of ", k, " columns");
  return rank;
}

mx::array identity(const mx::array& w1, const mx::array& w2, mx::StreamOrDevice s) {
  require(w1.ndim() == 3, "[blockdiag_butterfly_to_dense] w1 has shape ", w1.shape(), ", wants three dimensions");
  return mx::astype(mx::eye(w1.shape(0) * w1.shape(2), s), mx::promote_types(w1.dtype(), w2.dtype()), s);
}

}  // namespace

mx::array blockdiag_multiply_fallback(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias,
                                      mx::StreamOrDevice s) {
  check(x, weight, bias);
  const int nb = weight.shape(0), q = weight.shape(1), p = weight.shape(2);
  auto multiply_blocks = [&] {
    if (x.size() == 0 || weight.size() == 0) return no_products(x, weight, s);
    auto blocks = mx::transpose(mx::reshape(x, {-1, nb, p}, s), {1, 0, 2}, s);  // [nb, rows, p]
    auto y = mx::matmul(blocks, mx::transpose(weight, {0, 2, 1}, s), s);        // [nb, rows, q]
    return mx::reshape(mx::transpose(y, {1, 0, 2}, s), with_columns(x, nb * q), s);
  };
  auto y = multiply_blocks();
  return bias ? add_bias(y, *bias, s) : y;
}

mx::array blockdiag_multiply(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, mx::StreamOrDevice s) {
  check(x, weight, bias);
  if (auto y = backend_for(s).blockdiag_multiply(x, weight, bias, mx::to_stream(s))) return *y;
  return blockdiag_multiply_fallback(x, weight, bias, s);
}

mx::array blockdiag_weight_to_dense_weight(const mx::array& weight, mx::StreamOrDevice s) {
  require(weight.ndim() == 3, "[blockdiag_weight_to_dense_weight] weight has shape ", weight.shape(), ", wants [nb, q, p]");
  const int nb = weight.shape(0), q = weight.shape(1), p = weight.shape(2);
  auto diagonal = mx::reshape(mx::eye(nb, nb, 0, mx::bool_, s), {nb, 1, nb, 1}, s);
  auto blocks = mx::where(diagonal, mx::expand_dims(weight, 2, s), mx::array(0, weight.dtype()), s);  // [nb, q, nb, p]
  return mx::reshape(blocks, {nb * q, nb * p}, s);
}

mx::array dense_weight_to_blockdiag_weight(const mx::array& dense, int nblocks, mx::StreamOrDevice s) {
  require(dense.ndim() == 2, "[dense_weight_to_blockdiag_weight] dense has shape ", dense.shape(), ", wants [out, in]");
  require(nblocks >= 1 && dense.shape(0) % nblocks == 0 && dense.shape(1) % nblocks == 0, "[dense_weight_to_blockdiag_weight] ", nblocks,
          " blocks do not divide a matrix of shape ", dense.shape());
  const int q = dense.shape(0) / nblocks, p = dense.shape(1) / nblocks;
  std::vector<mx::array> blocks;
  blocks.reserve(size_t(nblocks));
  for (int k = 0; k < nblocks; ++k) blocks.push_back(mx::slice(dense, {k * q, k * p}, {(k + 1) * q, (k + 1) * p}, s));
  return mx::stack(blocks, s);
}

mx::array blockdiag_butterfly_multiply(const mx::array& x, const mx::array& w1, const mx::array& w2, mx::StreamOrDevice s) {
  return butterfly(blockdiag_multiply, x, w1, w2, s);
}

mx::array blockdiag_butterfly_multiply_fallback(const mx::array& x, const mx::array& w1, const mx::array& w2, mx::StreamOrDevice s) {
  return butterfly(blockdiag_multiply_fallback, x, w1, w2, s);
}

mx::array blockdiag_butterfly_multiply_einsum_simple(const mx::array& x, const mx::array& w1, const mx::array& w2, mx::StreamOrDevice s) {
  check_pair("blockdiag_butterfly_multiply_einsum_simple", x, w1, w2);
  require(w1.shape(1) == w2.shape(0) && w1.shape(0) == w2.shape(2), "[blockdiag_butterfly_multiply_einsum_simple] w1 has shape ",
          w1.shape(), ", so w2 must be [", w1.shape(1), ", l, ", w1.shape(0), "]; it has shape ", w2.shape());
  return blockdiag_butterfly_multiply(x, w1, w2, s);
}

mx::array blockdiag_butterfly_multiply_einsum(const mx::array& x, const mx::array& w1, const mx::array& w2, int b2, mx::StreamOrDevice s) {
  constexpr auto op = "blockdiag_butterfly_multiply_einsum";
  check_pair(op, x, w1, w2);
  const int b1 = inner_rank(op, w1, w2), k = w1.shape(0), j = w2.shape(0);
  require(b2 >= 1 && w2.shape(1) % b2 == 0, "[", op, "] w2 has ", w2.shape(1), " rows a block, not a multiple of b2 = ", b2);
  auto z = swap_columns(blockdiag_multiply(x, w1, std::nullopt, s), k, j, b1, s);
  return swap_columns(blockdiag_multiply(z, w2, std::nullopt, s), j, w2.shape(1) / b2, b2, s);
}

mx::array blockdiag_butterfly_multiply_einsum_rank(const mx::array& x, const mx::array& w1, const mx::array& w2, mx::StreamOrDevice s) {
  check_pair("blockdiag_butterfly_multiply_einsum_rank", x, w1, w2);
  inner_rank("blockdiag_butterfly_multiply_einsum_rank", w1, w2);
  return blockdiag_butterfly_multiply(x, w1, w2, s);
}

mx::array blockdiag_butterfly_to_dense(const mx::array& w1, const mx::array& w2, mx::StreamOrDevice s) {
  return mx::transpose(blockdiag_butterfly_multiply(identity(w1, w2, s), w1, w2, s), s);
}

mx::array blockdiag_butterfly_einsum_to_dense(const mx::array& w1, const mx::array& w2, int b2, mx::StreamOrDevice s) {
  return mx::transpose(blockdiag_butterfly_multiply_einsum(identity(w1, w2, s), w1, w2, b2, s), s);
}

}  // namespace m2bert::ops
