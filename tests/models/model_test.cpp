#include "m2bert/models/model.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/models/cast.h"
#include "m2bert/nn/hyena_filter.h"
#include "tests/support/tiny_config.h"

namespace m2bert {
namespace {

using models::Config;
using models::Head;
using models::Inputs;
using models::Model;
using models::Pooling;

Config tiny() {
  Config config = test::tiny_m2_config(12);
  config.vocab_size = 40;
  return config;
}

Inputs some_batch(int B = 2, int L = 12) {
  auto ids = mx::random::randint(5, 40, {B, L}, mx::int32, mx::random::key(7));
  return {ids, mx::ones({B, L}, mx::int32), std::nullopt};
}

float largest(const mx::array& a) { return mx::max(mx::abs(mx::astype(a, mx::float32))).item<float>(); }

mx::array& array_named(Model& model, const std::string& name) {
  for (auto& a : nn::named_arrays(model)) {
    if (a.name == name) return *a.array;
  }
  fail("no array is called ", name);
}

TEST(Model, InitCopiesOneLayerAsUpstreamUnlessIndependent) {
  auto layers_equal = [](bool independent, const std::string& name) {
    Model model(tiny(), Head::masked_lm);
    model.init(5, independent);
    auto a = array_named(model, "bert.encoder.layer.0." + name), b = array_named(model, "bert.encoder.layer.1." + name);
    return largest(a - b) == 0;
  };
  for (const char* copied : {"mlp.gated_layers.weight", "attention.filter_fn.bias", "attention.short_filter.weight"}) {
    EXPECT_TRUE(layers_equal(false, copied)) << copied;
    EXPECT_FALSE(layers_equal(true, copied)) << copied;
  }
  EXPECT_FALSE(layers_equal(false, "attention.in_linear.weight"));
}

TEST(Model, TrainingDropsAndInferenceDoesNot) {
  auto config = tiny();
  config.hidden_dropout_prob = 0.5;
  Model model(config, Head::embedding);
  model.init(2);
  auto batch = some_batch();
  auto train = nn::Pass::training(mx::random::key(1)), again = nn::Pass::training(mx::random::key(1)),
       other = nn::Pass::training(mx::random::key(2));
  auto a = model.hidden_states(batch, train);
  EXPECT_EQ(largest(a - model.hidden_states(batch, again)), 0);
  EXPECT_GT(largest(a - model.hidden_states(batch, other)), 1e-3f);
  EXPECT_GT(largest(a - model.hidden_states(batch)), 1e-3f);
}

TEST(Model, BfloatWeightsStayNearFloat) {
  Model model(tiny(), Head::embedding);
  model.init(4);
  auto batch = some_batch();
  auto full = model.embedding(batch, Pooling::pooler, true);
  models::cast_weights(model, mx::bfloat16);
  auto half = mx::astype(model.embedding(batch, Pooling::pooler, true), mx::float32);
  auto cosine = mx::sum(full * half, 1);
  EXPECT_GT(mx::min(cosine).item<float>(), 0.995f);  // random weights of width 16; trained models come closer
}

TEST(Model, MeanAndMaxPoolingIgnorePadding) {
  Model model(tiny(), Head::none);
  model.init(6);
  auto hidden = mx::random::normal({1, 4, 16}, mx::float32, 0, 1, mx::random::key(0));
  auto mask = mx::array({1, 1, 0, 0}, {1, 4}, mx::int32);
  auto part = mx::slice(hidden, {0, 0, 0}, {1, 2, 16});
  EXPECT_LT(largest(model.pool(hidden, mask, Pooling::mean) - mx::mean(part, 1)), 1e-6f);
  EXPECT_EQ(largest(model.pool(hidden, mask, Pooling::max) - mx::max(part, 1)), 0);
  EXPECT_THROW(model.pool(hidden, mask, Pooling::pooler), Error);
}

TEST(Model, TokenPlantingSumsWithinARowByDefault) {
  auto config = test::tiny_m2_config(256);
  config.sequence_token_planting = true;
  Model row(config, Head::embedding);
  config.sequence_token_planting_pooling = "reference";
  Model upstream(config, Head::embedding);
  row.init(1);
  upstream.init(1);
  auto hidden = mx::random::normal({2, 256, 16}, mx::float32, 0, 1, mx::random::key(0));
  auto mask = mx::ones({2, 256}, mx::int32);
  auto h = [&](int b, int t) { return mx::reshape(mx::slice(hidden, {b, t, 0}, {b + 1, t + 1, 16}), {1, 16}); };
  auto dense = [&](const mx::array& x) {
    return mx::tanh(mx::matmul(x, mx::transpose(array_named(row, "bert.pooler.dense.weight"))) +
                    array_named(row, "bert.pooler.dense.bias"));
  };
  auto both = mx::concatenate({(h(0, 0) + h(0, 128)) / mx::array(2.0f), (h(1, 0) + h(1, 128)) / mx::array(2.0f)}, 0);
  EXPECT_LT(largest(row.pool(hidden, mask, Pooling::pooler) - dense(both)), 1e-6f);
  auto planted = h(0, 128) + h(1, 128);
  auto mixed = mx::concatenate({(h(0, 0) + planted) / mx::array(2.0f), (h(1, 0) + planted) / mx::array(2.0f)}, 0);
  EXPECT_LT(largest(upstream.pool(hidden, mask, Pooling::pooler) - dense(mixed)), 1e-6f);
}

// 300 planted positions a row: in bfloat16 a count would stay at 256, and a sum would be off by percent.
TEST(Model, TokenPlantingSumsBfloat16StatesInFloat32) {
  constexpr int L = 300 * 128;
  for (const char* kind : {"row", "reference"}) {
    auto config = test::tiny_m2_config(256);
    config.sequence_token_planting = true;
    config.sequence_token_planting_pooling = kind;
    Model model(config, Head::embedding);
    model.init(1);
    const auto hidden = mx::astype(mx::random::normal({2, L, 16}, mx::float32, 1, 1, mx::random::key(0)), mx::bfloat16);
    const auto mask = mx::ones({2, L}, mx::int32);
    const auto found = model.pool(hidden, mask, Pooling::pooler);
    EXPECT_LT(largest(found - model.pool(mx::astype(hidden, mx::float32), mask, Pooling::pooler)), 1e-6f) << kind;
  }
}

TEST(Model, NamesWrongShapes) {
  Model model(tiny(), Head::embedding);
  EXPECT_THROW(model.hidden_states({mx::zeros({2, 12}, mx::int32), mx::ones({2, 11}, mx::int32), std::nullopt}), Error);
  EXPECT_THROW(model.hidden_states({mx::zeros({12}, mx::int32), mx::ones({12}, mx::int32), std::nullopt}), Error);
  EXPECT_THROW(mx::eval(model.hidden_states(some_batch(1, 13))), Error);
}

}  // namespace
}  // namespace m2bert
