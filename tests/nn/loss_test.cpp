#include "m2bert/nn/loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "m2bert/error.h"

namespace m2bert {
namespace {

TEST(CrossEntropy, OfKnownLogits) {
  auto logits = mx::array({0.0f, 0.0f, 2.0f, 0.0f}, {2, 2});
  const float expected = (std::log(2.0f) + std::log(1 + std::exp(-2.0f))) / 2;
  EXPECT_NEAR(nn::cross_entropy(logits, mx::array({0, 0}, {2}, mx::int32)).item<float>(), expected, 1e-6);
  EXPECT_THROW(nn::cross_entropy(logits, mx::array({0, 0, 0}, {3}, mx::int32)), Error);
}

TEST(BceWithLogits, DoesNotOverflow) {
  auto logits = mx::array({1000.0f, -1000.0f, 0.0f}), target = mx::array({1.0f, 0.0f, 1.0f});
  EXPECT_NEAR(nn::bce_with_logits(logits, target).item<float>(), std::log(2.0f) / 3, 1e-6);
}

TEST(BceWithLogits, IsTheLogOfTheProbability) {
  const float p = 1 / (1 + std::exp(-0.7f));
  const float expected = -(0.25f * std::log(p) + 0.75f * std::log(1 - p));
  EXPECT_NEAR(nn::bce_with_logits(mx::array({0.7f}), mx::array({0.25f})).item<float>(), expected, 1e-6);
}

TEST(Mse, IsTheMeanSquare) { EXPECT_FLOAT_EQ(nn::mse(mx::array({1.0f, 3.0f}), mx::array({0.0f, 1.0f})).item<float>(), 2.5f); }

TEST(Losses, AreFloat32AndNameWrongShapes) {
  const auto half = mx::ones({2, 3}, mx::float16);
  EXPECT_EQ(nn::mse(half, half).dtype(), mx::float32);
  EXPECT_EQ(nn::bce_with_logits(half, half).dtype(), mx::float32);
  EXPECT_EQ(nn::cross_entropy(half, mx::array({0, 1})).dtype(), mx::float32);
  EXPECT_THROW(nn::mse(half, mx::ones({3, 2})), Error);
  EXPECT_THROW(nn::bce_with_logits(half, mx::ones({2})), Error);
}

}  // namespace
}  // namespace m2bert
