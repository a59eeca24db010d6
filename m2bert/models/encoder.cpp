#include "m2bert/models/encoder.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "m2bert/error.h"
#include "m2bert/memory.h"
#include "m2bert/models/mlp.h"
#include "m2bert/models/monarch_mixer.h"
#include "m2bert/models/self_attention.h"
#include "m2bert/ops/attention.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/embedding.h"

namespace m2bert::models {

namespace {

std::unique_ptr<SequenceMixer> make_sequence_mixer(const Config& c) {
  if (c.family == Family::hf_bert) return std::make_unique<PaddedSelfAttention>(c);
  if (c.monarch_mixer_sequence_mixing) return std::make_unique<MonarchSequenceMixer>(c);
  return std::make_unique<UnpadSelfAttention>(c);
}

std::unique_ptr<ChannelMixer> make_channel_mixer(const Config& c) {
  if (c.family == Family::hf_bert) return std::make_unique<FeedForward>(c);
  return std::make_unique<Mlp>(c);
}

}  // namespace

Embeddings::Embeddings(const Config& c)
    : word_embeddings(c.vocab_size, c.hidden_size, c.pad_token_id),
      token_type_embeddings(c.type_vocab_size, c.hidden_size),
      norm(c.hidden_size, float(c.layer_norm_eps)),
      dropout_(float(c.hidden_dropout_prob)) {
  const bool hf = c.family == Family::hf_bert;
  if (hf || c.use_positional_encodings) position_embeddings.emplace(c.max_position_embeddings, c.hidden_size);
  if (!hf && c.use_positional_encodings) {
    position_ids = mx::reshape(mx::arange(0, c.max_position_embeddings, 1, mx::int64), {1, c.max_position_embeddings});
  }
}

mx::array Embeddings::operator()(const Inputs& inputs, nn::Pass& pass) const {
  const int L = inputs.input_ids.shape(1);
  const auto types = inputs.token_type_ids ? *inputs.token_type_ids : mx::array(0);
  std::optional<mx::array> positions;
  if (position_embeddings) {
    const int most = position_embeddings->weight.shape(0);
    require(L <= most, "[Embeddings] the sequence has ", L, " tokens, the model has positions for ", most, " (max_position_embeddings)");
    positions = position_ids ? mx::slice(mx::reshape(*position_ids, {-1}), {0}, {L}) : mx::arange(0, L, 1, mx::int32);
  }
  if (packed_ && pass.allows_packed()) return fused(inputs.input_ids, types, positions);
  auto x = word_embeddings(inputs.input_ids) + token_type_embeddings(types);
  if (positions) x = x + mx::expand_dims((*position_embeddings)(*positions), 0);
  x = norm(x);
  if (activations) x = mx::astype(x, *activations);
  return pass.dropout(x, dropout_);
}

mx::array Embeddings::fused(const mx::array& ids, const mx::array& types, const std::optional<mx::array>& positions) const {
  std::vector<ops::EmbeddingRows> rows{{word_embeddings.matrix(), ids}, {token_type_embeddings.matrix(), types}};
  if (positions) rows.push_back({position_embeddings->matrix(), *positions});
  const bool bfloat16 = word_embeddings.weight.dtype() == mx::bfloat16;
  return ops::embedding_norm(rows, {norm.weight, norm.bias, norm.eps()}, activations.value_or(bfloat16 ? mx::bfloat16 : mx::float32));
}

void Embeddings::visit(nn::Visitor& v) {
  if (position_ids) v.buffer("position_ids", *position_ids);
  v("word_embeddings", word_embeddings);
  v("position_embeddings", position_embeddings);
  v("token_type_embeddings", token_type_embeddings);
  v("LayerNorm", norm);
}

void Embeddings::init(float initializer_range, nn::KeySequence& keys) {
  word_embeddings.init_normal(initializer_range, keys);
  if (position_embeddings) position_embeddings->init_normal(initializer_range, keys);
  token_type_embeddings.init_normal(initializer_range, keys);
}

Layer::Layer(const Config& c)
    : attention_(make_sequence_mixer(c)), mlp_(make_channel_mixer(c)), mlp_has_name_(c.family != Family::hf_bert) {}

mx::array Layer::operator()(const mx::array& x, const EncoderContext& context, nn::Pass& pass) const {
  auto mixed = [&] {
    nn::Pass::Scope scope(pass, "mixer");
    return (*attention_)(x, context, pass);
  }();
  mixed = pass.hook("mixer", mixed);
  auto out = [&] {
    nn::Pass::Scope scope(pass, "mlp");
    return (*mlp_)(mixed, pass);
  }();
  return pass.hook("out", out);
}

mx::array Layer::first(const mx::array& x, const EncoderContext& context, nn::Pass& pass) const {
  return (*mlp_)(attention_->first(x, context, pass), pass);
}

void Layer::visit(nn::Visitor& v) {
  v("attention", *attention_);
  if (mlp_has_name_) {
    v("mlp", *mlp_);
  } else {
    mlp_->visit(v);
  }
}

void Layer::pack(const PackOptions& options) {
  attention_->pack(options);
  mlp_->pack(options);
}

void Layer::unpack() {
  attention_->unpack();
  mlp_->unpack();
}

void Layer::init(float initializer_range, nn::KeySequence& keys) {
  attention_->init(initializer_range, keys);
  mlp_->init(initializer_range, keys);
}

Encoder::Encoder(const Config& c)
    : unpads_(c.family == Family::m2 && c.padding_is_masked()),
      adds_mask_(c.family == Family::hf_bert),
      alibi_(c.family == Family::m2 && !c.monarch_mixer_sequence_mixing),
      heads_(c.num_attention_heads) {
  for (int i = 0; i < c.num_hidden_layers; ++i) layers_.emplace_back(c);
}

namespace {
bool has_padding(const std::vector<uint8_t>& mask) { return std::ranges::count(mask, 0) > 0; }

// With a kernel, sequences without padding take the same form as others, so that a sequence has the same bits in any batch.
bool removes_padding(const Inputs& inputs) { return ops::backend_for({}).supports_attention() || has_padding(inputs.mask_values()); }
}  // namespace

EncoderContext Encoder::context(const mx::array& x, const Inputs& inputs, const nn::Pass& pass) const {
  const auto& mask = inputs.attention_mask;
  EncoderContext context;
  context.batch = mask.shape(0);
  context.seqlen = mask.shape(1);
  // With kernels for aligned rows, a batch without padding is one of rows already. They share the filters of lengths that are powers of 2,
  // so batches of other lengths, each of which would need filters of its own, become aligned rows all the same.
  auto unpadding = [&]() -> std::optional<ops::Unpadding> {
    const int alignment = layers_.empty() ? 1 : layers_[0].row_alignment(context.seqlen, x.dtype(), pass);
    const auto mask = inputs.mask_values();
    if (alignment > 1 && std::has_single_bit(unsigned(context.seqlen)) && !has_padding(mask)) return {};
    return ops::unpadding(mask, context.batch, context.seqlen, alignment);
  };
  if (unpads_) context.unpadding = unpadding();
  if (alibi_) {
    // Upstream adds -10000 in bfloat16, which rounds to -9984.
    context.key_bias = ops::mask_bias(mask, -9984.0f);
    context.alibi = true;
  } else if (adds_mask_ && pass.skips_padding() && removes_padding(inputs)) {
    context.unpadding = unpadding();
  } else if (adds_mask_) {
    context.key_bias = ops::mask_bias(mask, std::numeric_limits<float>::lowest());
  }
  return context;
}

mx::array Encoder::operator()(const mx::array& x, const Inputs& inputs, nn::Pass& pass) const {
  auto c = context(x, inputs, pass);
  const auto h = run(c.unpadding ? ops::unpad_input(x, *c.unpadding) : x, layers_.size(), c, pass);
  return c.unpadding ? ops::pad_input(h, *c.unpadding, c.batch, c.seqlen) : h;
}

namespace {
// Whether to launch the first layer before the graph of the others is built, which takes the host about as long as that layer takes the
// GPU.
bool begins_early(const mx::array& states, const nn::Pass& pass) {
  return pass.launches_early && pass.allows_packed() && mx::cu::is_available() && mx::default_device().type == mx::Device::gpu &&
         !states.is_tracer();
}
}  // namespace

// The first `layers` layers.
mx::array Encoder::run(mx::array h, size_t layers, const EncoderContext& context, nn::Pass& pass) const {
  for (size_t i = 0; i < layers; ++i) {
    nn::Pass::Scope scope(pass, "layer." + std::to_string(i));
    h = layers_[i](h, context, pass);
    if (i + 1 == layers_.size()) break;
    if (pass.after_layer) pass.after_layer(h);
    else if (i == 0 && begins_early(h, pass)) mx::async_eval(h);
  }
  return h;
}

mx::array Encoder::first(const mx::array& x, const Inputs& inputs, nn::Pass& pass) const {
  if (pass.has_hook() || x.size() == 0) return mx::take((*this)(x, inputs, pass), 0, 1);
  const auto c = context(x, inputs, pass);
  if (c.unpadding && !c.unpadding->begins_with_tokens) return mx::take((*this)(x, inputs, pass), 0, 1);
  const auto h = run(c.unpadding ? ops::unpad_input(x, *c.unpadding) : x, layers_.size() - 1, c, pass);
  return layers_.back().first(h, c, pass);
}

void Encoder::visit(nn::Visitor& v) { v("layer", layers_); }

void Encoder::pack() {
  PackOptions options;
  options.filter_cache_bytes = physical_memory() / 4 / std::max<size_t>(1, layers_.size());
  for (auto& layer : layers_) layer.pack(options);
}

void Encoder::unpack() {
  for (auto& layer : layers_) layer.unpack();
}

void Encoder::init(float initializer_range, bool independent, nn::KeySequence& keys) {
  for (auto& layer : layers_) layer.init(initializer_range, keys);
  if (independent || layers_.size() < 2) return;
  // Upstream deep-copies one layer, then redraws the dense linear weights: all other weights start out equal in every layer.
  auto redrawn = [](const std::string& name) {
    for (const char* part : {"in_linear", "out_linear", "Wqkv", "dense", "query", "key", "value", "implicit_filter"}) {
      if (name.find(part) != std::string::npos && name.find("freq") == std::string::npos) return true;
    }
    return false;
  };
  auto first = nn::named_arrays(layers_[0]);
  for (size_t i = 1; i < layers_.size(); ++i) {
    auto mine = nn::named_arrays(layers_[i]);
    for (size_t j = 0; j < mine.size(); ++j) {
      const bool dense_mlp = mine[j].name.starts_with("mlp.") && mine[j].array->ndim() == 2;
      if (!redrawn(mine[j].name) && !dense_mlp) *mine[j].array = *first[j].array;
    }
  }
}

}  // namespace m2bert::models
