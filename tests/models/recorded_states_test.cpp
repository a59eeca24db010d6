// Hidden states of a packed model, call after call: where the device records passes, from the recorded one.
#include "m2bert/models/packed/recorded_states.h"

#include <gtest/gtest.h>

#include "m2bert/models/cast.h"
#include "m2bert/models/model.h"
#include "m2bert/ops/backend/backend.h"
#include "tests/support/tiny_config.h"

namespace m2bert::models {
namespace {

bool records() { return std::string(ops::backend_for({}).name()) == "cuda"; }

// What the kernels of NVIDIA GPUs take.
Config config() {
  auto c = test::tiny_m2_config(128);
  c.hidden_size = 768;
  c.intermediate_size = 3072;
  return c;
}

Inputs inputs(int B, int L, int seed, bool types = false) {
  const auto ids = mx::random::randint(5, 80, {B, L}, mx::int32, mx::random::key(uint64_t(seed)));
  Inputs in{ids, mx::ones({B, L}, mx::int32), std::nullopt};
  if (types) in.token_type_ids = mx::remainder(ids, mx::array(2));
  return in;
}

double difference(const mx::array& a, const mx::array& b) {
  const auto x = mx::astype(a, mx::float32), y = mx::astype(b, mx::float32);
  return std::sqrt((mx::sum(mx::square(x - y)) / mx::sum(mx::square(y))).item<float>());
}

class RecordedStatesOf : public ::testing::Test {
 protected:
  RecordedStatesOf() : model_(config(), Head::embedding), plain_(config(), Head::embedding) {
    for (auto* m : {&model_, &plain_}) {
      m->init(3, true);
      cast_weights(*m, mx::bfloat16);
    }
    model_.pack();
  }

  // Of the kind that does not record: the plain model's.
  void expect_states(const Inputs& in) { EXPECT_LT(difference(model_.hidden_states(in), plain_.hidden_states(in)), 2e-2); }

  Model model_, plain_;
};

TEST_F(RecordedStatesOf, EqualTheModelsInEveryCall) {
  for (int call = 0; call < 3; ++call) expect_states(inputs(1, 64, call));
  for (int call = 0; call < 3; ++call) expect_states(inputs(4, 32, call, true));
  for (int call = 0; call < 4; ++call) expect_states(inputs(1, 64, call, call % 2 == 1));
  for (int call = 0; call < 2; ++call) expect_states(inputs(3, 40, call));  // is not recorded
}

// MLX's own arrays wait for an evaluation.
TEST_F(RecordedStatesOf, AreThereAtOnce) {
  for (int call = 0; call < 3; ++call) EXPECT_EQ(model_.hidden_states(inputs(1, 64, call)).is_available(), records()) << call;
  EXPECT_FALSE(model_.hidden_states(inputs(1, 63, 1)).is_available());
}

// Whatever came before them.
TEST_F(RecordedStatesOf, HaveTheSameBitsInEveryCall) {
  auto first = model_.hidden_states(inputs(1, 64, 1)) * mx::array(1.0f, mx::bfloat16);
  first.eval();
  model_.hidden_states(inputs(2, 64, 2)).eval();
  EXPECT_TRUE(mx::array_equal(model_.hidden_states(inputs(1, 64, 1)), first).item<bool>());
}

TEST_F(RecordedStatesOf, StayAsTheyAreWhenOthersFollow) {
  std::vector<mx::array> states, copies;
  for (int call = 0; call < 6; ++call) {
    states.push_back(model_.hidden_states(inputs(2, 32, call)));
    copies.push_back(states.back() * mx::array(1.0f, mx::bfloat16));
    copies.back().eval();
  }
  for (size_t i = 0; i < states.size(); ++i) EXPECT_TRUE(mx::array_equal(states[i], copies[i]).item<bool>()) << i;
  EXPECT_FALSE(mx::array_equal(states[4], states[5]).item<bool>());
}

// A result's memory is used again, but not before MLX has read it.
TEST_F(RecordedStatesOf, AreReadBeforeTheyAreReplaced) {
  std::vector<mx::array> sums;
  for (int call = 0; call < 8; ++call) {
    auto x = mx::astype(model_.hidden_states(inputs(2, 64, call)), mx::float32);
    for (int i = 0; i < 20; ++i) x = mx::matmul(x, mx::eye(768));
    sums.push_back(mx::sum(x));
    mx::async_eval({sums.back()});
  }
  for (int call = 0; call < 8; ++call) {
    const auto again = mx::sum(mx::astype(model_.hidden_states(inputs(2, 64, call)), mx::float32)).item<float>();
    EXPECT_NEAR(sums[size_t(call)].item<float>(), again, 1e-2 * std::abs(again) + 1) << call;
  }
}

TEST_F(RecordedStatesOf, TakeIdsOfAnyLayoutAndDtype) {
  for (int call = 0; call < 2; ++call) {
    auto in = inputs(4, 32, call), transposed = in, wide = in;
    transposed.input_ids = mx::transpose(mx::contiguous(mx::transpose(in.input_ids)));
    wide.input_ids = mx::astype(in.input_ids, mx::int64);
    expect_states(transposed);
    expect_states(wide);
  }
}

TEST_F(RecordedStatesOf, SurviveThatTheHostReadsWeights) {
  expect_states(inputs(1, 64, 1));
  nn::Arrays weights;
  for (const auto& a : nn::named_arrays(model_)) weights.push_back(*a.array);
  model_.pack();
  expect_states(inputs(1, 64, 2));
  for (auto& w : weights) w.eval(), w.data<char>();  // MLX moves their memory
  for (int call = 0; call < 2; ++call) expect_states(inputs(1, 64, call));
}

TEST_F(RecordedStatesOf, MayBeReadOnTheHost) {
  for (int call = 0; call < 4; ++call) {
    const auto in = inputs(1, 48, call);
    const auto floats = to_floats(model_.hidden_states(in));  // MLX moves the array's memory for that
    const mx::array states(floats.data(), {1, 48, 768});
    EXPECT_LT(difference(states, plain_.hidden_states(in)), 2e-2);
  }
}

TEST_F(RecordedStatesOf, FollowTheWeights) {
  for (int call = 0; call < 3; ++call) expect_states(inputs(1, 64, call));
  for (auto* m : {&model_, &plain_}) {
    for (auto& a : nn::named_arrays(*m)) *a.array = *a.array * mx::array(1.25f, a.array->dtype());
  }
  model_.pack();
  for (int call = 0; call < 3; ++call) expect_states(inputs(1, 64, call));
}

TEST_F(RecordedStatesOf, GiveTheSameFirstState) {
  nn::Pass pass;
  for (int call = 0; call < 3; ++call) {
    const auto in = inputs(2, 64, call);
    const auto expected = mx::slice(plain_.hidden_states(in), {0, 0, 0}, {2, 1, 768});
    EXPECT_LT(difference(model_.states_for({Pooling::cls}, in, pass), expected), 2e-2);
  }
}

TEST(RecordedStates, TriesAShapeOnce) {
  int calls = 0;
  packed::RecordedStates states;
  auto f = [&](const Inputs& in) {
    ++calls;
    return in.input_ids;
  };
  EXPECT_FALSE(states(inputs(1, 8, 1), f).has_value()) << "no kernel computes it";
  const int tried = calls;
  EXPECT_EQ(tried > 0, records());
  EXPECT_FALSE(states(inputs(1, 8, 1), f).has_value());
  EXPECT_EQ(calls, tried);
}

TEST(RecordedStates, AreOfPowersOfTwo) {
  for (const auto& [B, L] : {std::pair{1, 1}, {1, 4096}, {32, 128}, {4, 512}}) EXPECT_TRUE(packed::RecordedStates::records({B, L}));
  for (const auto& [B, L] : {std::pair{0, 8}, {1, 0}, {3, 64}, {1, 100}, {64, 128}, {1, 8192}}) {
    EXPECT_FALSE(packed::RecordedStates::records({B, L})) << B << " " << L;
  }
}

// An encoder on a GPU launches its first layer before it has the graph of the others.
TEST(EarlyLaunch, ChangesNoState) {
  Model model(test::tiny_m2_config(128), Head::embedding);
  model.init(3, true);
  const auto in = inputs(3, 40, 1);
  nn::Pass early, late;
  late.launches_early = false;
  EXPECT_TRUE(mx::array_equal(model.hidden_states(in, early), model.hidden_states(in, late)).item<bool>());
}

TEST(EarlyLaunch, LeavesGradientsAlone) {
  Model model(test::tiny_m2_config(128), Head::embedding);
  model.init(3, true);
  const auto in = inputs(3, 40, 1);
  const auto arrays = nn::named_arrays(model);
  auto& weight = *std::ranges::find(arrays, "bert.embeddings.word_embeddings.weight", &nn::NamedArray::name)->array;
  const auto initial = weight;
  auto gradient = [&](bool launches_early) {
    auto loss = [&](const mx::array& scale) {
      weight = initial * scale;
      nn::Pass pass;
      pass.launches_early = launches_early;
      return mx::sum(mx::square(mx::sin(model.hidden_states(in, pass))));
    };
    auto g = mx::grad(loss)(mx::array(1.5f));
    weight = initial;
    return g.item<float>();
  };
  EXPECT_NE(gradient(true), 0);
  EXPECT_EQ(gradient(true), gradient(false));
}

}  // namespace
}  // namespace m2bert::models
