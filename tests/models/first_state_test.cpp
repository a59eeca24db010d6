// Model::states_for: where only the first token's state is needed, the last layer computes that row alone.
#include <gtest/gtest.h>

#include "m2bert/models/model.h"
#include "m2bert/nn/pass.h"
#include "m2bert/ops/backend/backend.h"
#include "tests/support/tiny_config.h"

namespace m2bert::models {
namespace {

Config named(const std::string& kind) {
  if (kind == "bert") return test::tiny_bert_config();
  Config c = test::tiny_m2_config(300);
  c.hidden_size = kind == "mixer_of_width_24" ? 24 : 32;
  c.monarch_mixer_sequence_mixing = kind != "alibi";
  c.mask_padding = kind == "masked_mixer";
  if (kind == "causal_mixer") c.bidirectional = c.residual_long_conv = false;
  return c;
}

Inputs inputs_of_length(int L) {
  const auto ids = mx::random::randint(5, 80, {3, L}, mx::int32, mx::random::key(7));
  const auto mask = mx::astype(mx::less(mx::arange(L), mx::array({L, std::max(1, L - 7), std::min(L, 4)}, {3, 1})), mx::int32);
  return {ids, mask, std::nullopt};
}

float largest(const mx::array& a) { return mx::max(mx::abs(mx::astype(a, mx::float32))).item<float>(); }

class FirstState : public ::testing::TestWithParam<const char*> {
 protected:
  FirstState() : model_(named(GetParam()), Head::classification) { model_.init(3, true); }
  ~FirstState() override { ops::enable_kernels(true); }

  void expect_equal(int L) {
    const auto inputs = inputs_of_length(L);
    nn::Pass pass = nn::Pass::without_padding();
    const auto all = model_.hidden_states(inputs, pass), first = model_.states_for({Pooling::cls}, inputs, pass);
    ASSERT_EQ(first.shape(), mx::Shape({3, 1, all.shape(2)}));
    const auto expected = mx::slice(all, {0, 0, 0}, {3, 1, all.shape(2)});
    EXPECT_LE(largest(first - expected), 2e-6f * largest(expected)) << L;
  }

  Model model_;
};

TEST_P(FirstState, IsThatOfAllStates) {
  for (const bool kernels : {true, false}) {
    ops::enable_kernels(kernels);
    for (int L : {1, 2, 3, 20, 64}) expect_equal(L);
    model_.pack();
    for (int L : {1, 2, 3, 20, 64}) expect_equal(L);
    if (named(GetParam()).max_length() >= 300) {
      for (int L : {128, 129, 300}) expect_equal(L);
    }
    model_.unpack();
  }
}

TEST_P(FirstState, HasItsGradients) {
  const auto inputs = inputs_of_length(20);
  const auto cotangent = mx::random::normal({3, model_.config().hidden_size}, mx::float32, 0, 1, mx::random::key(8));
  auto by_all = [&] {
    nn::Pass pass;
    return mx::sum(mx::take(model_.hidden_states(inputs, pass), 0, 1) * cotangent);
  };
  auto by_first = [&] {
    nn::Pass pass;
    return mx::sum(mx::squeeze(model_.states_for({Pooling::cls}, inputs, pass), 1) * cotangent);
  };
  const auto expected = nn::value_and_grad(nn::parameters(model_), by_all), found = nn::value_and_grad(nn::parameters(model_), by_first);
  for (size_t i = 0; i < expected.grads.size(); ++i)
    EXPECT_LE(largest(found.grads[i] - expected.grads[i]), 2e-5f * std::max(largest(expected.grads[i]), 1e-2f)) << i;
}

// A hook sees whole layers, and poolings that read other tokens get them.
TEST_P(FirstState, IsNotAloneWhereOthersAreRead) {
  const auto inputs = inputs_of_length(20);
  nn::Pass pass;
  auto rows = [&](const Poolings& poolings, int skipped = 0) { return model_.states_for(poolings, inputs, pass, skipped).shape(1); };
  EXPECT_EQ(rows({Pooling::cls}), 1);
  EXPECT_EQ(rows({Pooling::cls, Pooling::pooler}), 1);
  EXPECT_EQ(rows({Pooling::cls}, 2), 20);
  EXPECT_EQ(rows({Pooling::cls, Pooling::mean}), 20);
  pass.on_hook = [](const std::string&, const mx::array& x) { return x; };
  EXPECT_EQ(rows({Pooling::cls}), 20);
}

INSTANTIATE_TEST_SUITE_P(Models, FirstState,
                         ::testing::Values("mixer", "causal_mixer", "masked_mixer", "mixer_of_width_24", "alibi", "bert"));

TEST(FirstStateOfSequences, ThatBeginWithPaddingIsThatOfAllStates) {
  Model model(named("masked_mixer"), Head::none);
  model.init(3, true);
  auto inputs = inputs_of_length(20);
  inputs.attention_mask = inputs.attention_mask * mx::astype(mx::greater(mx::arange(20), mx::array(0)), mx::int32);
  nn::Pass pass;
  EXPECT_EQ(largest(model.states_for({Pooling::cls}, inputs, pass)), 0);
}

TEST(FirstStateOfSequences, ThePoolersThatReadMoreGetMore) {
  for (auto field : {&Config::pool_all, &Config::attention_pooling, &Config::sequence_token_planting}) {
    Config c = named("mixer");
    c.vocab_size = 112;
    c.*field = true;
    Model model(c, Head::embedding);
    EXPECT_FALSE(model.reads_first_state(Pooling::pooler));
    EXPECT_TRUE(model.reads_first_state(Pooling::cls));
  }
}

}  // namespace
}  // namespace m2bert::models
