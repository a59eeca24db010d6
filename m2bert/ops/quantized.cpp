#include "m2bert/ops/quantized.h"

#include <algorithm>
#include <cmath>

#include "m2bert/error.h"
#include "m2bert/ops/linear.h"
#include "m2bert/ops/monarch.h"

namespace m2bert::ops {

namespace {

constexpr float kMost = 127;

// max |x| / 127 over the last axis, which becomes length 1.
mx::array row_scale(const mx::array& x, mx::StreamOrDevice s) {
  return mx::divide(mx::max(mx::abs(x, s), -1, true, s), mx::array(kMost), s);
}

// round(x / scale); 0 where the scale is 0.
mx::array rounded(const mx::array& x, const mx::array& scale, mx::StreamOrDevice s) {
  auto nonzero = mx::where(mx::equal(scale, mx::array(0.0f), s), mx::array(1.0f), scale, s);
  return mx::round(mx::divide(x, nonzero, s), 0, s);
}

void check(const mx::array& x, const Weight& weight) {
  require(weight.values.dtype() == mx::int8, "[weight_matmul] a weight with scales is ", weight.values.dtype(), ", wants int8");
  const int ndim = int(weight.values.ndim());
  require(ndim == 2 || ndim == 3, "[weight_matmul] weight has shape ", weight.values.shape(), ", wants [out, in] or [nb, q, p]");
  const auto& shape = weight.values.shape();
  const int blocks = ndim == 3 ? shape[0] : 1, q = shape[size_t(ndim - 2)], p = shape[size_t(ndim - 1)];
  require(x.ndim() >= 1 && x.shape(-1) == blocks * p, "[weight_matmul] x has shape ", x.shape(), ", weight wants ", blocks * p, " columns");
  require(weight.scale->size() == size_t(blocks) * size_t(q), "[weight_matmul] weight has ", blocks * q, " rows and ", weight.scale->size(),
          " scales");
  require(mx::issubdtype(x.dtype(), mx::floating), "[weight_matmul] x is ", x.dtype(), ", wants a floating dtype");
}

}  // namespace

int rotation_block(int columns) {
  constexpr int kMost = 64;
  return std::min(kMost, columns & -columns);
}

mx::array rotate_columns(const mx::array& x, mx::StreamOrDevice s) {
  const int block = rotation_block(x.shape(-1));
  if (block == 1 || x.size() == 0) return x;
  auto split = x.shape();
  split.back() /= block;
  split.push_back(block);
  return mx::reshape(mx::hadamard_transform(mx::reshape(x, split, s), 1 / std::sqrt(float(block)), s), x.shape(), s);
}

Weight quantize_weight(const mx::array& weight, mx::StreamOrDevice s) {
  require(weight.ndim() >= 2 && mx::issubdtype(weight.dtype(), mx::floating), "[quantize_weight] weight is ", weight.dtype(), " of shape ",
          weight.shape(), ", wants floating numbers of [out, in] or [nb, q, p]");
  auto rotated = rotate_columns(mx::astype(weight, mx::float32, s), s);
  auto scale = row_scale(rotated, s);
  scale = mx::where(mx::equal(scale, mx::array(0.0f), s), mx::array(1.0f), scale, s);
  return {mx::astype(rounded(rotated, scale, s), mx::int8, s), mx::reshape(scale, {-1}, s)};
}

mx::array dequantize_weight(const Weight& weight, mx::StreamOrDevice s) {
  if (!weight.scale) return weight.values;
  auto shape = weight.values.shape();
  shape.back() = 1;
  return rotate_columns(mx::multiply(mx::astype(weight.values, mx::float32, s), mx::reshape(*weight.scale, shape, s), s), s);
}

mx::array weight_matmul(const mx::array& x, const Weight& weight, const std::optional<mx::array>& bias, mx::StreamOrDevice s) {
  if (!weight.scale) {
    return weight.values.ndim() == 3 ? blockdiag_multiply(x, weight.values, bias, s) : linear(x, weight.values, bias, s);
  }
  check(x, weight);
  const int blocks = weight.values.ndim() == 3 ? weight.values.shape(0) : 1;
  auto split = x.shape();
  split.back() = blocks;
  split.push_back(x.shape(-1) / blocks);
  auto rows = rotate_columns(mx::reshape(mx::astype(x, mx::float32, s), split, s), s);
  auto scale = row_scale(rows, s);  // [..., nb, 1]
  auto quantized = mx::reshape(rounded(rows, scale, s), x.shape(), s);
  // Integer terms of at most 127^2: their sums are exact in float32 for more than a thousand terms, and rounded beyond.
  auto values = mx::astype(weight.values, mx::float32, s);
  const bool dense = blocks == 1 && values.ndim() == 2;
  auto sums = dense ? linear(quantized, values, std::nullopt, s) : blockdiag_multiply(quantized, values, std::nullopt, s);
  auto outputs = sums.shape();
  split.back() = outputs.back() / blocks;
  auto y = mx::reshape(mx::multiply(mx::reshape(sums, split, s), scale, s), outputs, s);
  y = mx::multiply(y, *weight.scale, s);
  if (bias) y = mx::add(y, *bias, s);
  return mx::astype(y, x.dtype(), s);
}

}  // namespace m2bert::ops
