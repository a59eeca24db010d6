#include "m2bert/optim/adamw.h"

#include <gtest/gtest.h>

#include <cmath>

#include "m2bert/error.h"

namespace m2bert::optim {
namespace {

// Two values in two groups.
struct Pair {
  explicit Pair(const AdamWOptions& options)
      : optimizer({{"a", &a, nn::Role::parameter}, {"b", &b, nn::Role::parameter}}, {{"one", 0.1, 0.01, {0}}, {"two", 0.2, 0, {1}}},
                  options) {}
  mx::array a = mx::array({1.0f}), b = mx::array({1.0f});
  AdamW optimizer;
  void step(float ga, float gb, double factor, const Clipping& clipping = {}, double norm = 0) {
    nn::Arrays grads{mx::array({ga}), mx::array({gb})};
    optimizer.step(grads, factor, clipping, norm);
  }
};

TEST(AdamW, DecoupledDecayDoesNotDependOnTheLearningRate) {
  Pair pair({WeightDecay::decoupled, 0.9, 0.98, 1e-6});
  pair.step(2, -2, 1);
  // The first step follows the sign: lr g / (|g| + eps).
  EXPECT_NEAR(pair.a.item<float>(), 1 - 0.01 - 0.1, 1e-6);
  EXPECT_NEAR(pair.b.item<float>(), 1 + 0.2, 1e-6);
}

TEST(AdamW, TorchsDecayIsTimesTheLearningRate) {
  Pair pair({WeightDecay::by_learning_rate, 0.9, 0.98, 1e-6});
  pair.step(2, -2, 0.5);
  EXPECT_NEAR(pair.a.item<float>(), 1 - 0.05 * 0.01 - 0.05, 1e-6);
}

// As in a warm-up: the first batch updates the moments and no parameter.
TEST(AdamW, WithRateZeroOnlyTheMomentsMove) {
  Pair pair({WeightDecay::decoupled, 0.9, 0.98, 1e-6});
  pair.step(2, -2, 0);
  EXPECT_EQ(pair.a.item<float>(), 1);
  EXPECT_NEAR(pair.optimizer.state()[0].array->item<float>(), 0.2, 1e-6);
  EXPECT_EQ(pair.optimizer.steps(), 1);
}

TEST(AdamW, ClipsByNormAndByValue) {
  Pair by_norm({WeightDecay::decoupled, 0.9, 0.98, 1e-6}), by_value({WeightDecay::decoupled, 0.9, 0.98, 1e-6});
  by_norm.step(3, 4, 1, {ClipBy::norm, 1}, 5);
  EXPECT_NEAR(by_norm.optimizer.state()[0].array->item<float>(), 0.1 * 0.6, 1e-6);
  by_value.step(3, -4, 1, {ClipBy::value, 2}, 5);
  EXPECT_NEAR(by_value.optimizer.state()[2].array->item<float>(), 0.1 * -2, 1e-6);
}

TEST(AdamW, StateHasTheNamesOfTheParameters) {
  Pair pair({});
  std::vector<std::string> names;
  for (const auto& s : pair.optimizer.state()) names.push_back(s.name);
  EXPECT_EQ(names, (std::vector<std::string>{"m.a", "v.a", "m.b", "v.b"}));
}

TEST(AdamW, RefusesParametersThatAreNotFloat32) {
  auto half = mx::zeros({2}, mx::bfloat16);
  EXPECT_THROW(AdamW({{"half", &half, nn::Role::parameter}}, {{"all", 1, 0, {0}}}, {}), Error);
}

}  // namespace
}  // namespace m2bert::optim
