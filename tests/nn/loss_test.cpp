#include "m2bert/nn/loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "m2bert/error.h"
#include "m2bert/nn/module.h"

namespace m2bert {
namespace {

TEST(CrossEntropy, OfKnownLogits) {
  auto logits = mx::array({0.0f, 0.0f, 2.0f, 0.0f}, {2, 2});
  const float expected = (std::log(2.0f) + std::log(1 + std::exp(-2.0f))) / 2;
  EXPECT_NEAR(nn::cross_entropy(logits, mx::array({0, 0}, {2}, mx::int32)).item<float>(), expected, 1e-6);
  EXPECT_THROW(nn::cross_entropy(logits, mx::array({0, 0, 0}, {3}, mx::int32)), Error);
}

TEST(MaskedCrossEntropy, AveragesTheCountedRows) {
  auto logits = mx::array({0.0f, 0.0f, 2.0f, 0.0f}, {1, 2, 2});
  auto counts = mx::array({false, true}, {1, 2});
  EXPECT_NEAR(nn::masked_cross_entropy(logits, mx::array({-100, 0}, {1, 2}, mx::int32), counts).item<float>(),
              std::log(1 + std::exp(-2.0f)), 1e-6);
  EXPECT_TRUE(
      std::isnan(nn::masked_cross_entropy(logits, mx::array({0, 0}, {1, 2}, mx::int32), mx::array({false, false}, {1, 2})).item<float>()));
}

TEST(BceWithLogits, DoesNotOverflow) {
  auto logits = mx::array({1000.0f, -1000.0f, 0.0f}), target = mx::array({1.0f, 0.0f, 1.0f});
  EXPECT_NEAR(nn::bce_with_logits(logits, target).item<float>(), std::log(2.0f) / 3, 1e-6);
}

TEST(Mse, IsTheMeanSquare) { EXPECT_FLOAT_EQ(nn::mse(mx::array({1.0f, 3.0f}), mx::array({0.0f, 1.0f})).item<float>(), 2.5f); }

TEST(ValueAndGrad, RestoresArraysEvenIfTheLossThrows) {
  auto w = mx::array({2.0f});
  std::vector<nn::NamedArray> params{{"w", &w, nn::Role::parameter}};
  auto result = nn::value_and_grad(params, [&] { return mx::sum(w * w * w); });
  EXPECT_FLOAT_EQ(result.value.item<float>(), 8);
  EXPECT_FLOAT_EQ(result.grads[0].item<float>(), 12);
  const auto id = w.id();
  EXPECT_THROW(nn::value_and_grad(params, [&]() -> mx::array { fail("stop"); }), Error);
  EXPECT_EQ(w.id(), id);
  EXPECT_FALSE(w.is_tracer());
}

}  // namespace
}  // namespace m2bert
