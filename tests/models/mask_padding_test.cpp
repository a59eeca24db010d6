// mask_padding: the states of a sequence depend neither on how far it is padded nor on the rest of the batch.
#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/io/yaml.h"
#include "m2bert/models/cast.h"
#include "m2bert/models/model.h"
#include "m2bert/nn/pass.h"
#include "m2bert/nn/placeholder.h"
#include "m2bert/ops/backend/backend.h"
#include "tests/ops/cpu_kernels.h"
#include "tests/support/tiny_config.h"

namespace m2bert::models {
namespace {

constexpr int kMaxLength = 100;
const std::vector<int> kLengths{1, 2, 7, 16, 33, 64, 65, 99, kMaxLength};

Config config_of(int width, bool masked = true) {
  Config c = test::tiny_m2_config(kMaxLength);
  c.hidden_size = width;
  c.intermediate_size = 2 * width;
  c.mask_padding = masked;
  return c;
}

// Sequences of these lengths, each always with the same ids, padded to L with ids that depend on `junk`.
Inputs padded(const std::vector<int>& lengths, int L, int junk = 0) {
  std::vector<int32_t> ids, mask;
  for (int length : lengths) {
    for (int t = 0; t < L; ++t) {
      ids.push_back(t < length ? 5 + (length * 31 + t * 17) % 80 : junk);
      mask.push_back(t < length);
    }
  }
  const mx::Shape shape{int(lengths.size()), L};
  return {mx::array(ids.data(), shape, mx::int32), mx::array(mask.data(), shape, mx::int32), std::nullopt};
}

mx::array states(const Model& model, const Inputs& inputs, bool launches_early = true) {
  auto pass = nn::Pass::without_padding();
  pass.launches_early = launches_early;
  return model.hidden_states(inputs, pass);
}

// The states of the tokens of row b.
mx::array row_of(const mx::array& states, int b, int length) { return mx::slice(states, {b, 0, 0}, {b + 1, length, states.shape(2)}); }

float largest(const mx::array& a) { return mx::max(mx::abs(mx::astype(a, mx::float32))).item<float>(); }

void expect_same_bits(const mx::array& a, const mx::array& b, const std::string& what) {
  ASSERT_EQ(a.shape(), b.shape()) << what;
  EXPECT_TRUE(mx::array_equal(a, b).item<bool>()) << what << ", up to " << largest(a - b);
}

class MaskPadding : public ::testing::TestWithParam<const char*> {
 protected:
  MaskPadding() : model_(config_of(128), Head::embedding) { model_.init(3, true); }

  // Where the CPU has no GEMM of the dtype, the weights are rounded to it.
  void SetUp() override {
    if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
    const std::string dtype = GetParam();
    if (dtype != "float32") cast_weights(model_, dtype == "int8" ? mx::int8 : mx::bfloat16);
    model_.pack();
  }

  Model model_;
};

// Batches of random texts: batch_independence_test.cpp.
TEST_P(MaskPadding, OneTextHasTheSameBitsHoweverItIsPadded) {
  for (int n : kLengths) {
    const auto alone = row_of(states(model_, padded({n}, n)), 0, n);
    for (int L : {n + 1, n + 6, 67, kMaxLength}) {
      if (L < n || L > kMaxLength) continue;
      const auto with_padding = states(model_, padded({n}, L, L % 50));
      ASSERT_EQ(with_padding.shape(1), L);
      expect_same_bits(row_of(with_padding, 0, n), alone, std::to_string(n) + " padded to " + std::to_string(L));
    }
    std::vector<int> many{n};
    for (int i = 0; i < 40; ++i) many.push_back(1 + (i * 13 + n) % 60);
    for (const auto& lengths : {std::vector<int>{n, 3}, std::vector<int>{n, kMaxLength, 5}, many}) {
      expect_same_bits(row_of(states(model_, padded(lengths, kMaxLength)), 0, n), alone, std::to_string(n) + " in a batch");
    }
  }
}

TEST_P(MaskPadding, OneTextHasTheSameVector) {
  for (const char* name : {"pooler", "cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"}) {
    const Pooling pooling = pooling_named(name);
    for (int n : {1, 7, 64}) {
      const auto alone = model_.embedding(padded({n}, n), pooling, true);
      expect_same_bits(model_.embedding(padded({n}, kMaxLength), pooling, true), alone, name);
      expect_same_bits(mx::slice(model_.embedding(padded({90, n, 3}, 97), pooling, true), {1, 0}, {2, 128}), alone, name);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, MaskPadding, ::testing::Values("float32", "bfloat16", "int8"),
                         [](const auto& info) { return std::string(info.param); });

// Widths with and without kernels.
class MaskPaddingWidths : public ::testing::TestWithParam<int> {
 protected:
  MaskPaddingWidths() : model_(config_of(GetParam()), Head::embedding) { model_.init(3, true); }
  ~MaskPaddingWidths() override { ops::enable_kernels(true); }
  Model model_;
};

TEST_P(MaskPaddingWidths, AllFormsAgree) {
  const auto inputs = padded(kLengths, kMaxLength);
  nn::Pass stepwise;
  stepwise.on_hook = [](const std::string&, const mx::array& x) { return x; };
  const auto expected = model_.hidden_states(inputs, stepwise);
  EXPECT_LT(largest(states(model_, inputs) - expected), 2e-5f);
  model_.pack();
  EXPECT_LT(largest(states(model_, inputs) - expected), 2e-5f);
  EXPECT_LT(largest(states(model_, inputs) - expected), 2e-5f);  // from the filter cache
  model_.unpack();
  ops::enable_kernels(false);
  EXPECT_LT(largest(states(model_, inputs) - expected), 2e-5f);
  model_.pack();
  EXPECT_LT(largest(states(model_, inputs) - expected), 2e-5f);
}

TEST_P(MaskPaddingWidths, EveryFormGivesTheSameStatesForAnyPadding) {
  for (const bool kernels : {true, false}) {
    ops::enable_kernels(kernels);
    for (int n : {1, 7, 33}) {
      const auto alone = states(model_, padded({n}, n));
      EXPECT_LT(largest(row_of(states(model_, padded({50, n, 2}, kMaxLength, 9)), 1, n) - alone), 2e-5f) << n;
    }
  }
}

TEST_P(MaskPaddingWidths, GradientsAreThoseOfThePlainForm) {
  const auto inputs = padded({9, 33, 1, 40}, 45, 11);
  const auto cotangent = mx::random::normal({4, 45, model_.config().hidden_size}, mx::float32, 0, 1, mx::random::key(8));
  auto loss = [&](nn::Pass pass) { return [&, pass]() mutable { return mx::sum(model_.hidden_states(inputs, pass) * cotangent); }; };
  nn::Pass stepwise;
  stepwise.on_hook = [](const std::string&, const mx::array& x) { return x; };
  const auto expected = nn::value_and_grad(nn::parameters(model_), loss(stepwise));
  for (const bool kernels : {true, false}) {
    ops::enable_kernels(kernels);
    const auto found = nn::value_and_grad(nn::parameters(model_), loss({}));
    for (size_t i = 0; i < found.grads.size(); ++i) {
      EXPECT_LE(largest(found.grads[i] - expected.grads[i]), 5e-5f * std::max(largest(expected.grads[i]), 1e-1f)) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, MaskPaddingWidths, ::testing::Values(16, 24, 48));

// On any device: sequences of many lengths, of different kernels, packed, against the plain form.
TEST(MaskPadding, PackedSequencesOfAnyLength) {
  const int longest = 2100;
  Config c = config_of(48);
  c.max_position_embeddings = *(c.long_conv_l_max = longest);
  Model model(c, Head::embedding);
  model.init(3, true);
  for (const auto dtype : {mx::float32, mx::bfloat16}) {
    if (dtype == mx::bfloat16) cast_weights(model, dtype);
    for (const auto& lengths : {std::vector<int>{5, longest, 1, 1025, 77, 512, 513, 129}, {1}, {longest, 300}, {0, 9, 130}}) {
      const auto inputs = padded(lengths, longest, 7);
      nn::Pass stepwise;
      stepwise.on_hook = [](const std::string&, const mx::array& x) { return x; };
      const auto expected = mx::astype(model.hidden_states(inputs, stepwise), mx::float32);
      model.pack();
      const auto y = mx::astype(states(model, inputs), mx::float32);
      EXPECT_LT(largest(y - expected), dtype == mx::float32 ? 5e-5f : 0.1f) << lengths.size();
      const auto first = model.embedding(inputs, Pooling::cls, false);
      EXPECT_LT(largest(first - mx::take(y, 0, 1)), dtype == mx::float32 ? 5e-5f : 0.1f) << lengths.size();
      model.unpack();
    }
  }
}

// The mask's values on the host are all that a model reads while its graph is built.
TEST(MaskPadding, BuildsItsGraphBeforeTheMaskIsThere) {
  Model model(config_of(16), Head::embedding);
  model.init(3, true);
  const auto inputs = padded({9, 33, 1, 40}, 45, 11);
  const auto expected = states(model, inputs);
  for (const bool packed : {false, true}) {
    if (packed) model.pack();
    Inputs now{nn::placeholder({4, 45}, mx::int32), nn::placeholder({4, 45}, mx::int32), std::nullopt, inputs.mask_values()};
    const auto y = states(model, now, false);
    nn::bind(now.input_ids, inputs.input_ids), nn::bind(now.attention_mask, inputs.attention_mask);
    EXPECT_LT(largest(y - expected), 2e-5f);
  }
}

TEST(MaskPadding, StatesAtThePaddingAreZero) {
  Model model(config_of(16), Head::none);
  model.init(3, true);
  const auto y = states(model, padded({4, 20}, 32, 7));
  EXPECT_EQ(largest(mx::slice(y, {0, 4, 0}, {1, 32, 16})), 0);
  EXPECT_EQ(largest(mx::slice(y, {1, 20, 0}, {2, 32, 16})), 0);
}

// Between the tokens: the convolutions read 0 there too, and distances are those of the positions.
TEST(MaskPadding, TheMaskMayHaveHoles) {
  Model model(config_of(16), Head::none);
  model.init(3, true);
  const auto inputs = padded({20, 9}, 24);
  auto with = [&](int id) {
    auto holed = inputs;
    const auto hole = mx::array({0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {1, 24});
    holed.attention_mask = mx::where(mx::equal(hole, mx::array(1)), mx::array(0), inputs.attention_mask);
    holed.input_ids = mx::where(mx::equal(hole, mx::array(1)), mx::array(id), inputs.input_ids);
    return holed;
  };
  const auto y = states(model, with(3));
  EXPECT_LT(largest(states(model, with(70)) - y), 1e-6f);
  EXPECT_EQ(largest(mx::slice(y, {0, 5, 0}, {2, 7, 16})), 0);
  EXPECT_GT(largest(states(model, inputs) - y), 1e-3f);
  model.pack();
  EXPECT_LT(largest(states(model, with(3)) - y), 2e-5f);
}

TEST(MaskPadding, WithoutTokensTheStatesAreZero) {
  Model model(config_of(16), Head::none);
  model.init(3, true);
  model.pack();
  EXPECT_EQ(largest(states(model, padded({0, 0}, 8))), 0);
  EXPECT_LT(largest(row_of(states(model, padded({0, 5}, 8)), 1, 5) - states(model, padded({5}, 5))), 1e-6f);
}

TEST(MaskPadding, IsOffByDefault) {
  Model model(config_of(16, false), Head::none);
  model.init(3, true);
  const auto alone = states(model, padded({7}, 7));
  EXPECT_GT(largest(row_of(states(model, padded({7}, 32)), 0, 7) - alone), 1e-3f);
}

TEST(MaskPadding, PoolersDoNotSeeThePadding) {
  for (const char* kind : {"mean", "attention", "planted"}) {
    Config c = config_of(16);
    c.max_position_embeddings = *(c.long_conv_l_max = 300);
    c.vocab_size = 112;
    if (kind == std::string("mean")) c.pool_all = true;
    if (kind == std::string("attention")) c.attention_pooling = true;
    if (kind == std::string("planted")) c.sequence_token_planting = true;
    Model model(c, Head::embedding);
    model.init(3, true);
    for (int n : {1, 130, 200}) {
      const auto alone = model.embedding(padded({n}, n), Pooling::pooler, false);
      for (int L : {n + 1, 256, 300}) {
        const auto row = mx::slice(model.embedding(padded({5, n}, L, 8), Pooling::pooler, false), {1, 0}, {2, 16});
        EXPECT_LT(largest(row - alone), 1e-5f) << kind << " " << n << " padded to " << L;
      }
    }
  }
}

TEST(MaskPadding, IsAFieldOfTheConfig) {
  const std::string mixer =
      "{monarch_mixer_sequence_mixing: true, long_conv_l_max: 16, long_conv_kernel_learning_rate: 1e-3, hyena_lr_pos_emb: 1e-5, "
      "hyena_w: 10, hyena_wd: 0.1, hyena_emb_dim: 5";
  auto read = [&](const std::string& more) { return Config::from_tree(io::parse_yaml(mixer + more + "}", "config")); };
  EXPECT_FALSE(read("").mask_padding);
  EXPECT_FALSE(read("").padding_is_masked());
  const auto c = read(", mask_padding: true");
  EXPECT_TRUE(c.mask_padding);
  EXPECT_TRUE(c.padding_is_masked());
  EXPECT_TRUE(Config::from_tree(c.to_tree()).mask_padding);
  EXPECT_TRUE(test::tiny_bert_config().padding_is_masked());
  EXPECT_NE(c.summary().find("padding masked"), std::string::npos);
  EXPECT_NO_THROW(read(", sequence_token_planting: true, sequence_token_planting_pooling: reference"));
  EXPECT_THROW(read(", mask_padding: true, sequence_token_planting: true, sequence_token_planting_pooling: reference"), Error);
}

}  // namespace
}  // namespace m2bert::models
