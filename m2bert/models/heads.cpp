#include "m2bert/models/heads.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "m2bert/models/mlp.h"
#include "m2bert/ops/activation.h"

namespace m2bert::models {

namespace {

constexpr int kPlantingStride = 128;

// Where planted positions end if padding is not masked: a last stretch of fewer positions has none.
constexpr int planted_end(int L) { return L / kPlantingStride * kPlantingStride; }

}  // namespace

mx::array planting_stride(int L) {
  const auto at = mx::arange(0, L, 1, mx::int32);
  return mx::reshape(mx::equal(mx::remainder(at, mx::array(kPlantingStride)), mx::array(0)), {1, L});
}

mx::array planted_positions(int batch, int L) {
  const auto below = mx::less(mx::arange(0, L, 1, mx::int32), mx::array(planted_end(L)));
  return mx::broadcast_to(mx::logical_and(planting_stride(L), below), {batch, L});
}

mx::array l2_normalize(const mx::array& x) {
  auto norm = mx::sqrt(mx::sum(mx::square(x), -1, true));
  return x / mx::maximum(norm, mx::array(1e-12f, x.dtype()));
}

Pooler::Pooler(const Config& c)
    : dense(c.hidden_size, c.hidden_size),
      pool_all_(c.pool_all),
      planting_(c.sequence_token_planting),
      planting_as_upstream_(c.sequence_token_planting_pooling == "reference"),
      masks_padding_(c.mask_padding) {}

mx::array Pooler::finish(const mx::array& state) const { return mx::tanh(packed_ ? (*packed_)(state) : dense(state)); }

mx::array Pooler::operator()(const mx::array& hidden, const mx::array& mask) const {
  if (pool_all_) return finish(masked_mean(hidden, mask));
  if (!planting_) return finish(first_state(hidden));

  auto first = first_state(hidden);
  const int L = hidden.shape(1), stop = masks_padding_ ? L : planted_end(L);
  // At the planted positions, except the first. In float32: in bfloat16, sums and counts would lose positions.
  auto at_planted = [&](const mx::array& a) {
    mx::Shape begin(a.ndim(), 0), end = a.shape(), stride(a.ndim(), 1);
    begin[1] = std::min(kPlantingStride, stop), end[1] = stop, stride[1] = kPlantingStride;
    return mx::astype(mx::slice(a, begin, end, stride), mx::float32);
  };
  const auto planted = at_planted(mask);
  const auto sum = mx::sum(at_planted(hidden) * mx::expand_dims(planted, -1), 1);  // [B, H]
  const auto count = mx::sum(planted, 1, true);                                    // [B, 1]
  if (planting_as_upstream_) {  // every row gets the states of all examples; the first is not counted
    return finish((first + mx::sum(sum, 0, true)) / mx::sum(count, 0, true));
  }
  return finish((first + sum) / (count + mx::array(1, count.dtype())));
}

AttentionPooler::AttentionPooler(const Config& c)
    : Wqkv(c.hidden_size, 3 * c.hidden_size),
      dense1(c.hidden_size, c.intermediate_size),
      dense2(c.intermediate_size, c.hidden_size),
      dense3(c.hidden_size, c.intermediate_size),
      dense4(c.intermediate_size, c.hidden_size),
      dense(c.hidden_size, c.hidden_size),
      masks_padding_(c.mask_padding) {}

mx::array AttentionPooler::attend(const mx::array& x, const mx::array& mask) const {
  auto qkv = mx::split(Wqkv(x), 3, 2);
  auto scale = mx::array(std::sqrt(float(x.shape(2))), x.dtype());
  auto scores = mx::matmul(qkv[0], mx::transpose(qkv[1], {0, 2, 1})) / scale;
  const auto tokens = mx::expand_dims(mx::astype(mask, scores.dtype()), -1);
  if (masks_padding_) {
    scores =
        mx::where(mx::equal(tokens, mx::array(0, tokens.dtype())), mx::array(std::numeric_limits<float>::lowest(), scores.dtype()), scores);
    return mx::matmul(mx::softmax(scores, 1, true), qkv[2] * tokens);
  }
  return mx::matmul(mx::softmax(scores * tokens, 1, true), qkv[2]);  // over the query axis, as in upstream
}

mx::array AttentionPooler::operator()(const mx::array& hidden, const mx::array& mask) const {
  auto x = dense2(ops::gelu(dense1(attend(hidden, mask))));
  x = dense4(ops::gelu(dense3(attend(x, mask))));
  return mx::tanh(dense(first_state(x)));
}

void AttentionPooler::visit(nn::Visitor& v) {
  v("Wqkv", Wqkv);
  v("dense1", dense1);
  v("dense2", dense2);
  v("dense3", dense3);
  v("dense4", dense4);
  v("dense", dense);
}

void AttentionPooler::init(float initializer_range, nn::KeySequence& keys) {
  for (auto* linear : {&Wqkv, &dense1, &dense2, &dense3, &dense4, &dense}) linear->init_normal(initializer_range, keys);
}

MaskedLMHead::MaskedLMHead(const Config& c)
    : dense(c.hidden_size, c.hidden_size),
      norm(c.hidden_size, c.family == Family::hf_bert ? float(c.layer_norm_eps) : 1e-12f),
      bias(mx::zeros({c.vocab_size})),
      activation_(activation_named(c.hidden_act)),
      hf_names_(c.family == Family::hf_bert) {}

mx::array MaskedLMHead::operator()(const mx::array& rows, nn::Pass& pass) const {
  auto x = pass.hook("mlm.transform", norm(ops::activate(activation_, dense(rows))));
  return ops::weight_matmul(x, word_embeddings_->matrix(), bias);
}

void MaskedLMHead::visit(nn::Visitor& v) {
  if (hf_names_) v("predictions.bias", bias);
  v("predictions.transform.dense", dense);
  v("predictions.transform.LayerNorm", norm);
  v.alias("predictions.decoder.weight", word_embeddings_->weight);
  if (word_embeddings_->weight_scale) v.alias("predictions.decoder.weight_scale", *word_embeddings_->weight_scale);
  if (hf_names_) {
    v.alias("predictions.decoder.bias", bias);
  } else {
    v("predictions.decoder.bias", bias);
  }
}

}  // namespace m2bert::models
