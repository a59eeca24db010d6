#include "m2bert/ops/attention.h"

#include <bit>
#include <cmath>
#include <limits>

#include "m2bert/error.h"
#include "m2bert/ops/attention_options.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/streaming_attention.h"

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

mx::array self_attention_fallback(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const mx::array& key_bias,
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
  if (on_probabilities || q.size() == 0) return self_attention_fallback(q, k, v, heads, key_bias, alibi, on_probabilities, s);
  const int B = q.shape(0), S = q.shape(1), d = q.shape(2) / heads;
  StreamingAttention what{1 / std::sqrt(float(d))};
  if (alibi) what.alibi_slopes = alibi_slopes(heads);
  auto bias = mx::reshape(mx::astype(key_bias, mx::float32, s), {B, 1, 1, S}, s);
  auto as_float32 = [&](const mx::array& x) { return mx::astype(x, mx::float32, s); };
  if (!backend_for(s).supports_attention()) {
    auto heads_first = [&](const mx::array& x) { return split_heads(as_float32(x), heads, s); };
    auto y = streaming_attention({heads_first(q), heads_first(k), heads_first(v), bias}, what, s);
    return mx::astype(mx::reshape(mx::transpose(y, {0, 2, 1, 3}, s), q.shape(), s), q.dtype(), s);
  }
  // A kernel reads the heads where they are: the batch is passed as consecutive sequences of S rows.
  std::vector<int> offsets;
  for (int b = 0; b <= B; ++b) offsets.push_back(b * S);
  what.offsets = {offsets, offsets};
  auto rows = [&](const mx::array& x) { return mx::reshape(as_float32(x), {B * S, heads, d}, s); };
  auto y = streaming_attention({rows(q), rows(k), rows(v), bias}, what, s);
  return mx::astype(mx::reshape(y, q.shape(), s), q.dtype(), s);
}

namespace {

void check(const mx::array& q, const mx::array& k, const mx::array& v, const AttentionOptions& options) {
  const char* op = "scaled_dot_product_attention";
  const bool fits = q.ndim() == 4 && k.ndim() == 4 && v.ndim() == 4 && k.shape(0) == q.shape(0) && v.shape(0) == q.shape(0) &&
                    k.shape(1) == q.shape(1) && v.shape(1) == q.shape(1) && k.shape(3) == q.shape(3) && v.shape(2) == k.shape(2);
  require(fits, "[", op, "] q, k and v have shapes ", q.shape(), ", ", k.shape(), ", ", v.shape(),
          ", want [B, heads, Lq, d], [B, heads, Lk, d], [B, heads, Lk, dv]");
  check_attention(op, q, k, v, options, {q.shape(0), q.shape(1), q.shape(2), k.shape(2)});
  if (!options.key_mask) return;
  require(options.key_mask->shape() == mx::Shape({k.shape(0), k.shape(2)}), "[", op, "] key_mask has shape ", options.key_mask->shape(),
          ", wants [", k.shape(0), ", ", k.shape(2), "]");
}

}  // namespace

mx::array scaled_dot_product_attention(const mx::array& q, const mx::array& k, const mx::array& v, const AttentionOptions& options,
                                       mx::StreamOrDevice s) {
  check(q, k, v, options);
  auto in = streaming_inputs(q, k, v, options, s);
  if (options.key_mask) in.key_bias = mask_bias(*options.key_mask, -std::numeric_limits<float>::infinity(), s);
  return mx::astype(streaming_attention(in, streaming_options(q, options), s), q.dtype(), s);
}

mx::array scaled_dot_product_attention_fallback(const mx::array& q, const mx::array& k, const mx::array& v, const AttentionOptions& options,
                                                mx::StreamOrDevice s) {
  check(q, k, v, options);
  const auto what = streaming_options(q, options);
  const auto in = streaming_inputs(q, k, v, options, s);
  const int B = q.shape(0), heads = q.shape(1), Lq = q.shape(2), Lk = k.shape(2);
  if (q.size() == 0 || v.size() == 0) return mx::zeros({B, heads, Lq, v.shape(3)}, q.dtype(), s);
  auto scores = mx::matmul(mx::multiply(in.q, mx::array(what.scale), s), mx::swapaxes(in.k, 2, 3, s), s);
  if (in.bias) scores = mx::add(scores, *in.bias, s);
  auto ahead = mx::subtract(mx::arange(0, Lk, mx::int32, s), mx::reshape(mx::arange(0, Lq, mx::int32, s), {Lq, 1}, s), s);
  if (!what.alibi_slopes.empty()) {
    auto distance = mx::astype(mx::abs(ahead, s), mx::float32, s);
    scores = mx::subtract(scores, mx::multiply(mx::array(what.alibi_slopes.data(), {heads, 1, 1}), distance, s), s);
  }
  auto off = mx::less(scores, mx::array(std::numeric_limits<float>::lowest()), s);  // minus infinity
  if (options.causal) off = mx::logical_or(off, mx::greater(ahead, mx::array(0), s), s);
  if (options.key_mask) {
    auto masked = mx::equal(*options.key_mask, mx::array(0, options.key_mask->dtype()), s);
    off = mx::logical_or(off, mx::reshape(masked, {B, 1, 1, Lk}, s), s);
  }
  // Minus infinity becomes finite: otherwise the softmax of a row without keys would be NaN, and so would its gradient, despite the zeros.
  scores = mx::where(off, mx::array(std::numeric_limits<float>::lowest()), scores, s);
  auto p = mx::where(off, mx::array(0.0f), mx::softmax(scores, -1, true, s), s);
  if (what.dropout > 0) p = mx::multiply(p, attention_dropout(*in.dropout_key, what.dropout, 0, B, heads, 0, Lq, 0, Lk, s), s);
  return mx::astype(mx::matmul(p, in.v, s), q.dtype(), s);
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
