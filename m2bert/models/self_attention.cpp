#include "m2bert/models/self_attention.h"

#include "m2bert/ops/attention.h"

namespace m2bert::models {

namespace {

mx::array attend(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const EncoderContext& context, float dropout,
                 nn::Pass& pass) {
  std::function<mx::array(const mx::array&)> on_probabilities;
  if (pass.train() && dropout > 0) on_probabilities = [&](const mx::array& p) { return pass.dropout(p, dropout); };
  return ops::self_attention(q, k, v, heads, *context.key_bias, context.alibi, on_probabilities);
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
  auto qkv = mx::split(ops::pad_input(pass.stage("qkv", Wqkv(rows)), unpadding, context.batch, context.seqlen), 3, 2);
  auto mixed = attend(qkv[0], qkv[1], qkv[2], heads_, context, attention_dropout_, pass);
  auto mixed_rows = pass.stage("context", ops::unpad_input(mixed, unpadding));
  return norm(pass.dropout(dense(mixed_rows), hidden_dropout_), rows);
}

void UnpadSelfAttention::visit(nn::Visitor& v) {
  v("self.Wqkv", Wqkv);
  v("output.dense", dense);
  v("output.LayerNorm", norm);
}

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
  auto mixed = attend(query(x), key(x), value(x), heads_, context, attention_dropout_, pass);
  return norm(pass.dropout(dense(mixed), hidden_dropout_), x);
}

void PaddedSelfAttention::visit(nn::Visitor& v) {
  v("self.query", query);
  v("self.key", key);
  v("self.value", value);
  v("output.dense", dense);
  v("output.LayerNorm", norm);
}

void PaddedSelfAttention::init(float initializer_range, nn::KeySequence& keys) {
  for (auto* linear : {&query, &key, &value, &dense}) linear->init_normal(initializer_range, keys);
}

}  // namespace m2bert::models
