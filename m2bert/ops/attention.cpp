#include "m2bert/ops/attention.h"

#include <bit>
#include <cmath>

#include "m2bert/error.h"
#include "m2bert/ops/kernels/attention.h"
#include "m2bert/ops/kernels/kernel.h"
#include "m2bert/ops/kernels/pointwise.h"

namespace m2bert::ops {

mx::array attention(const mx::array& q, const mx::array& k, const mx::array& v, const std::optional<mx::array>& bias,
                    const std::function<mx::array(const mx::array&)>& on_probabilities, mx::StreamOrDevice s) {
  require(q.ndim() == 4 && k.ndim() == 4 && v.ndim() == 4, "[attention] q, k and v have shapes ", q.shape(), ", ", k.shape(), ", ",
          v.shape(), ", want [B, heads, S, d]");
  auto scale = mx::array(1 / std::sqrt(float(q.shape(3))), q.dtype());
  auto scores = mx::matmul(mx::multiply(q, scale, s), mx::transpose(k, {0, 1, 3, 2}, s), s);
  if (bias) scores = mx::add(scores, mx::astype(*bias, scores.dtype(), s), s);
  auto p = mx::softmax(scores, -1, /*precise=*/true, s);
  if (on_probabilities) p = on_probabilities(p);
  return mx::matmul(p, v, s);
}

namespace {

// [B, S, heads * d] -> [B, heads, S, d]
mx::array split_heads(const mx::array& x, int heads, mx::StreamOrDevice s) {
  return mx::transpose(mx::reshape(x, {x.shape(0), x.shape(1), heads, x.shape(2) / heads}, s), {0, 2, 1, 3}, s);
}

void check(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const mx::array& key_bias) {
  require(q.ndim() == 3 && k.shape() == q.shape() && v.shape() == q.shape(), "[self_attention] q, k and v have shapes ", q.shape(), ", ",
          k.shape(), ", ", v.shape(), ", want one [B, S, heads * d]");
  require(heads > 0 && q.shape(2) % heads == 0, "[self_attention] ", q.shape(2), " columns do not divide into ", heads, " heads");
  require(key_bias.shape() == mx::Shape({q.shape(0), q.shape(1)}), "[self_attention] key_bias has shape ", key_bias.shape(), ", wants [",
          q.shape(0), ", ", q.shape(1), "]");
}

}  // namespace

mx::array self_attention_reference(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const mx::array& key_bias,
                                   bool alibi, const std::function<mx::array(const mx::array&)>& on_probabilities, mx::StreamOrDevice s) {
  check(q, k, v, heads, key_bias);
  const int B = q.shape(0), S = q.shape(1);
  auto bias = mx::reshape(key_bias, {B, 1, 1, S}, s);
  if (alibi) bias = mx::add(alibi_bias(heads, S, s), bias, s);
  auto mixed = attention(split_heads(q, heads, s), split_heads(k, heads, s), split_heads(v, heads, s), bias, on_probabilities, s);
  return mx::reshape(mx::transpose(mixed, {0, 2, 1, 3}, s), q.shape(), s);
}

mx::array self_attention(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const mx::array& key_bias, bool alibi,
                         const std::function<mx::array(const mx::array&)>& on_probabilities, mx::StreamOrDevice s) {
  check(q, k, v, heads, key_bias);
  const bool values = !q.is_tracer() && !k.is_tracer() && !v.is_tracer() && !key_bias.is_tracer() && k.dtype() == q.dtype() && v.dtype() == q.dtype();
  if (on_probabilities || !values || !kernels::pointwise_takes(q, s)) {
    return self_attention_reference(q, k, v, heads, key_bias, alibi, on_probabilities, s);
  }
  return kernels::self_attention(q, k, v, heads, key_bias, alibi ? alibi_slopes(heads) : std::vector<float>(), kernels::stream_of(s));
}

std::vector<float> alibi_slopes(int heads) {
  require(heads > 0, "[alibi_slopes] heads is ", heads);
  auto power_of_two = [](int n) {
    std::vector<float> slopes;
    for (int i = 1; i <= n; ++i) slopes.push_back(float(std::pow(2.0, -8.0 * i / n)));
    return slopes;
  };
  const int n = int(std::bit_floor(unsigned(heads)));
  auto slopes = power_of_two(n);
  auto finer = power_of_two(2 * n);
  for (int i = 0; int(slopes.size()) < heads; i += 2) slopes.push_back(finer[size_t(i)]);
  return slopes;
}

mx::array alibi_bias(int heads, int S, mx::StreamOrDevice s) {
  auto slopes = alibi_slopes(heads);
  auto at = mx::arange(0, S, 1, mx::float32, s);
  auto distance = mx::abs(mx::subtract(mx::reshape(at, {1, S}, s), mx::reshape(at, {S, 1}, s), s), s);
  return mx::multiply(mx::array(slopes.data(), {1, heads, 1, 1}), mx::negative(distance, s), s);
}

mx::array mask_bias(const mx::array& mask, float off, mx::StreamOrDevice s) {
  require(mask.ndim() == 2, "[mask_bias] mask has shape ", mask.shape(), ", wants [B, S]");
  auto on = mx::not_equal(mask, mx::array(0, mask.dtype()), s);
  return mx::where(on, mx::array(0.0f), mx::array(off), s);
}

}  // namespace m2bert::ops
