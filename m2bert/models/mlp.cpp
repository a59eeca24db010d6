#include "m2bert/models/mlp.h"

#include "m2bert/error.h"
#include "m2bert/ops/activation.h"

namespace m2bert::models {

namespace {

std::variant<nn::Linear, nn::BlockdiagLinear> make_linear(int in, int out, bool with_bias, const Config& c) {
  if (c.use_monarch_mlp) return nn::BlockdiagLinear(in, out, c.monarch_mlp_nblocks, with_bias);
  return nn::Linear(in, out, with_bias);
}
}  // namespace

MonarchOrDenseLinear::MonarchOrDenseLinear(int in, int out, bool with_bias, const Config& c)
    : linear_(make_linear(in, out, with_bias, c)) {}

mx::array MonarchOrDenseLinear::operator()(const mx::array& x) const {
  return std::visit([&](const auto& linear) { return linear(x); }, linear_);
}

void MonarchOrDenseLinear::visit(nn::Visitor& v) {
  std::visit([&](auto& linear) { linear.visit(v); }, linear_);
}

void MonarchOrDenseLinear::init(float initializer_range, nn::KeySequence& keys) {
  if (auto* dense = std::get_if<nn::Linear>(&linear_)) {
    dense->init_normal(initializer_range, keys);
  } else {
    std::get<nn::BlockdiagLinear>(linear_).init(keys);
  }
}

bool MonarchOrDenseLinear::is_plain() const {
  const auto* blocks = std::get_if<nn::BlockdiagLinear>(&linear_);
  return !blocks || blocks->is_plain();
}

ops::Weight MonarchOrDenseLinear::matrix() const {
  return std::visit([](const auto& linear) { return linear.matrix(); }, linear_);
}

const std::optional<mx::array>& MonarchOrDenseLinear::bias() const {
  return std::visit([](const auto& linear) -> const std::optional<mx::array>& { return linear.bias; }, linear_);
}

Mlp::Mlp(const Config& c)
    : gated_layers_(c.hidden_size, c.use_glu_mlp ? 2 * c.intermediate_size : c.intermediate_size, false, c),
      wo_(c.intermediate_size, c.hidden_size, true, c),
      norm_(c.hidden_size, float(c.layer_norm_eps)),
      gated_(c.use_glu_mlp),
      dropout_(float(c.hidden_dropout_prob)) {}

mx::array Mlp::operator()(const mx::array& x, nn::Pass& pass) const {
  if (packed_ && pass.allows_packed()) return (*packed_)(x);
  if (has_plain_weights() && !pass.has_hook()) return ops::feed_forward(x, weights(), dropout_, pass.dropout_key(dropout_));
  auto hidden = pass.hook("gated_layers", gated_layers_(x));
  hidden = gated_ ? ops::gelu_gate(hidden) : ops::gelu(hidden);
  hidden = pass.dropout(pass.hook("act", hidden), dropout_);
  return norm_(pass.hook("wo", wo_(hidden)), x);
}

ops::FeedForwardWeights Mlp::weights() const {
  return {gated_layers_.matrix(),
          gated_layers_.bias(),
          wo_.matrix(),
          wo_.bias(),
          norm_.weight,
          norm_.bias,
          norm_.eps(),
          ops::Activation::gelu,
          gated_};
}

void Mlp::pack(const PackOptions&) { packed_ = has_plain_weights() ? ops::pack_feed_forward(weights()) : nullptr; }

void Mlp::visit(nn::Visitor& v) {
  v("gated_layers", gated_layers_);
  v("wo", wo_);
  v("layernorm", norm_);
}

void Mlp::init(float initializer_range, nn::KeySequence& keys) {
  gated_layers_.init(initializer_range, keys);
  wo_.init(initializer_range, keys);
}

FeedForward::FeedForward(const Config& c)
    : intermediate_(c.hidden_size, c.intermediate_size),
      output_(c.intermediate_size, c.hidden_size),
      norm_(c.hidden_size, float(c.layer_norm_eps)),
      activation_(activation_named(c.hidden_act)),
      dropout_(float(c.hidden_dropout_prob)) {}

mx::array FeedForward::operator()(const mx::array& x, nn::Pass& pass) const {
  if (packed_ && pass.allows_packed()) return (*packed_)(x);
  return norm_(pass.dropout(output_(ops::activate(activation_, intermediate_(x))), dropout_), x);
}

void FeedForward::pack(const PackOptions&) {
  packed_ = ops::pack_feed_forward({intermediate_.matrix(), intermediate_.bias, output_.matrix(), output_.bias, norm_.weight, norm_.bias,
                                    norm_.eps(), activation_, false});
}

void FeedForward::visit(nn::Visitor& v) {
  v("intermediate.dense", intermediate_);
  v("output.dense", output_);
  v("output.LayerNorm", norm_);
}

void FeedForward::init(float initializer_range, nn::KeySequence& keys) {
  intermediate_.init_normal(initializer_range, keys);
  output_.init_normal(initializer_range, keys);
}

ops::Activation activation_named(const std::string& name) {
  if (name == "gelu" || name == "gelu_python") return ops::Activation::gelu;
  if (name == "gelu_new" || name == "gelu_fast" || name == "gelu_pytorch_tanh" || name == "gelu_accurate")
    return ops::Activation::gelu_tanh;
  if (name == "relu") return ops::Activation::relu;
  if (name == "silu" || name == "swish") return ops::Activation::silu;
  if (name == "tanh") return ops::Activation::tanh;
  fail("no activation is called \"", name, "\"");
}

}  // namespace m2bert::models
