#include "m2bert/models/self_attention.h"

#include <numeric>

#include "m2bert/ops/attention.h"
#include "m2bert/ops/varlen_attention.h"

namespace m2bert::models {

namespace {

mx::array attend(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const EncoderContext& context, float dropout,
                 nn::Pass& pass) {
  std::function<mx::array(const mx::array&)> on_probabilities;
  if (pass.train() && dropout > 0) on_probabilities = [&](const mx::array& p) { return pass.dropout(p, dropout); };
  return ops::self_attention(q, k, v, heads, *context.key_bias, context.alibi, on_probabilities);
}

// The same for q, k, v as rows [nnz, H] of consecutive sequences.
mx::array attend_rows(const std::vector<mx::array>& qkv, int heads, const EncoderContext& context) {
  auto by_head = [&](const mx::array& x) { return mx::reshape(x, {x.shape(0), heads, x.shape(1) / heads}); };
  ops::AttentionOptions options;
  if (context.alibi) options.alibi_slopes = ops::alibi_slopes(heads);
  const auto& cu_seqlens = context.unpadding->cu_seqlens;
  auto y = ops::attention_varlen(by_head(qkv[0]), by_head(qkv[1]), by_head(qkv[2]), cu_seqlens, cu_seqlens, options);
  return mx::reshape(y, qkv[0].shape());
}

// The same of the packed layer's result, [nnz, 3 H].
mx::array attend_rows(const mx::array& qkv, int heads, const EncoderContext& context) {
  const int rows = qkv.shape(0), H = qkv.shape(1) / 3;
  ops::AttentionOptions options;
  if (context.alibi) options.alibi_slopes = ops::alibi_slopes(heads);
  const auto y = ops::attention_varlen_qkv(mx::reshape(qkv, {rows, 3, heads, H / heads}), context.unpadding->cu_seqlens, options);
  return mx::reshape(y, {rows, H});
}

// One query for each sequence, its first token: q [B, H]; k and v as the layer has them.
mx::array attend_first(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const EncoderContext& context) {
  const int B = q.shape(0), d = q.shape(1) / heads;
  ops::AttentionOptions options;
  if (context.alibi) options.alibi_slopes = ops::alibi_slopes(heads);
  if (context.unpadding) {
    auto by_head = [&](const mx::array& x) { return mx::reshape(x, {x.shape(0), heads, d}); };
    std::vector<int> one_each(size_t(B) + 1);
    std::iota(one_each.begin(), one_each.end(), 0);
    const auto y = ops::attention_varlen(by_head(q), by_head(k), by_head(v), one_each, context.unpadding->cu_seqlens, options);
    return mx::reshape(y, q.shape());
  }
  auto by_head = [&](const mx::array& x) { return mx::transpose(mx::reshape(x, {B, -1, heads, d}), {0, 2, 1, 3}); };
  options.bias = mx::reshape(*context.key_bias, {B, 1, 1, context.seqlen});
  return mx::reshape(ops::scaled_dot_product_attention(by_head(q), by_head(k), by_head(v), options), q.shape());
}

}  // namespace

UnpadSelfAttention::UnpadSelfAttention(const Config& c)
    : Wqkv(c.hidden_size, 3 * c.hidden_size),
      dense(c.hidden_size, c.hidden_size),
      norm(c.hidden_size, float(c.layer_norm_eps)),
      heads_(c.num_attention_heads),
      attention_dropout_(float(c.attention_probs_dropout_prob)),
      hidden_dropout_(float(c.hidden_dropout_prob)) {}

mx::array UnpadSelfAttention::operator()(const mx::array& rows, const EncoderContext& context, nn::Pass& pass) const {
  const auto& unpadding = *context.unpadding;
  // With holes between the tokens of a sequence, distances between rows are not ALiBi's distances.
  if (packed_ && pass.allows_packed() && unpadding.contiguous) {
    return (*packed_->out)(attend_rows((*packed_->qkv)(rows), heads_, context), rows);
  }
  auto qkv = mx::split(ops::pad_input(pass.hook("qkv", Wqkv(rows)), unpadding, context.batch, context.seqlen), 3, 2);
  auto mixed = attend(qkv[0], qkv[1], qkv[2], heads_, context, attention_dropout_, pass);
  auto mixed_rows = pass.hook("context", ops::unpad_input(mixed, unpadding));
  return norm(pass.dropout(dense(mixed_rows), hidden_dropout_), rows);
}

mx::array UnpadSelfAttention::first(const mx::array& rows, const EncoderContext& context, nn::Pass& pass) const {
  if (!context.unpadding->contiguous || (pass.train() && attention_dropout_ > 0)) return SequenceMixer::first(rows, context, pass);
  const bool packed = packed_ && pass.allows_packed();
  const auto qkv = mx::split(packed ? (*packed_->qkv)(rows) : Wqkv(rows), 3, 1);
  const auto mixed = attend_first(first_rows(qkv[0], context), qkv[1], qkv[2], heads_, context), x = first_rows(rows, context);
  return packed ? (*packed_->out)(mixed, x) : norm(pass.dropout(dense(mixed), hidden_dropout_), x);
}

void UnpadSelfAttention::visit(nn::Visitor& v) {
  v("self.Wqkv", Wqkv);
  v("output.dense", dense);
  v("output.LayerNorm", norm);
}

void UnpadSelfAttention::pack(const PackOptions&) { packed_ = packed::pack_attention({&Wqkv}, dense, norm); }

void UnpadSelfAttention::init(float initializer_range, nn::KeySequence& keys) {
  Wqkv.init_normal(initializer_range, keys);
  dense.init_normal(initializer_range, keys);
}

PaddedSelfAttention::PaddedSelfAttention(const Config& c)
    : query(c.hidden_size, c.hidden_size),
      key(c.hidden_size, c.hidden_size),
      value(c.hidden_size, c.hidden_size),
      dense(c.hidden_size, c.hidden_size),
      norm(c.hidden_size, float(c.layer_norm_eps)),
      heads_(c.num_attention_heads),
      attention_dropout_(float(c.attention_probs_dropout_prob)),
      hidden_dropout_(float(c.hidden_dropout_prob)) {}

mx::array PaddedSelfAttention::operator()(const mx::array& x, const EncoderContext& context, nn::Pass& pass) const {
  if (packed_ && pass.allows_packed()) {
    const auto qkv = (*packed_->qkv)(x);
    if (context.unpadding) return (*packed_->out)(attend_rows(qkv, heads_, context), x);
    const auto parts = mx::split(qkv, 3, -1);
    return (*packed_->out)(attend(parts[0], parts[1], parts[2], heads_, context, 0, pass), x);
  }
  if (context.unpadding) return norm(dense(attend_rows({query(x), key(x), value(x)}, heads_, context)), x);
  auto mixed = attend(query(x), key(x), value(x), heads_, context, attention_dropout_, pass);
  return norm(pass.dropout(dense(mixed), hidden_dropout_), x);
}

mx::array PaddedSelfAttention::first(const mx::array& x, const EncoderContext& context, nn::Pass& pass) const {
  if (pass.train() && attention_dropout_ > 0) return SequenceMixer::first(x, context, pass);
  const auto x0 = first_rows(x, context);
  if (packed_ && pass.allows_packed()) {
    const auto qkv = mx::split((*packed_->qkv)(x), 3, -1);
    return (*packed_->out)(attend_first(first_rows(qkv[0], context), qkv[1], qkv[2], heads_, context), x0);
  }
  return norm(pass.dropout(dense(attend_first(query(x0), key(x), value(x), heads_, context)), hidden_dropout_), x0);
}

void PaddedSelfAttention::visit(nn::Visitor& v) {
  v("self.query", query);
  v("self.key", key);
  v("self.value", value);
  v("output.dense", dense);
  v("output.LayerNorm", norm);
}

void PaddedSelfAttention::pack(const PackOptions&) { packed_ = packed::pack_attention({&query, &key, &value}, dense, norm); }

void PaddedSelfAttention::init(float initializer_range, nn::KeySequence& keys) {
  for (auto* linear : {&query, &key, &value, &dense}) linear->init_normal(initializer_range, keys);
}

}  // namespace m2bert::models
