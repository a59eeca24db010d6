#include "m2bert/models/pooling.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/scratch.h"

namespace m2bert::models {
namespace {

using test::error_of;
using test::has;

float largest(const mx::array& a) { return mx::max(mx::abs(a)).item<float>(); }

// States [2, 4, 1] with two and four tokens.
const auto& states() {
  static const mx::array values({1.0f, 5.0f, 9.0f, 9.0f, -1.0f, -3.0f, -2.0f, -6.0f}, {2, 4, 1});
  return values;
}
const auto& mask() {
  static const mx::array values({1, 1, 0, 0, 1, 1, 1, 1}, {2, 4}, mx::int32);
  return values;
}

void expect_pooled(Pooling pooling, int skipped, float first, float second) {
  const auto got = pool_states(states(), mask(), pooling, skipped);
  EXPECT_EQ(got.shape(), (mx::Shape{2, 1}));
  EXPECT_LT(largest(got - mx::array({first, second}, {2, 1})), 1e-6f) << name(pooling) << " without " << skipped;
}

TEST(PoolStates, EachModeIgnoresThePadding) {
  expect_pooled(Pooling::cls, 0, 1, -1);
  expect_pooled(Pooling::max, 0, 5, -1);
  expect_pooled(Pooling::mean, 0, 3, -3);
  expect_pooled(Pooling::mean_sqrt_len_tokens, 0, 6 / std::sqrt(2.0f), -6);
  expect_pooled(Pooling::weightedmean, 0, 11 / 3.0f, -37 / 10.0f);
  expect_pooled(Pooling::lasttoken, 0, 5, -6);
}

TEST(PoolStates, SkippedPositionsAreLeftOut) {
  expect_pooled(Pooling::cls, 1, 5, -3);
  expect_pooled(Pooling::max, 1, 5, -2);
  expect_pooled(Pooling::mean, 1, 5, -11 / 3.0f);
  expect_pooled(Pooling::mean_sqrt_len_tokens, 1, 5, -11 / std::sqrt(3.0f));
  expect_pooled(Pooling::weightedmean, 1, 5, -36 / 9.0f);
  expect_pooled(Pooling::lasttoken, 1, 5, -6);
  expect_pooled(Pooling::mean, 2, 0, -4);  // a row without tokens
  EXPECT_PRED2(has, error_of([] { pool_states(states(), mask(), Pooling::pooler); }), "pooler");
}

TEST(Pooling, NamesAndTheirInverse) {
  EXPECT_EQ(poolings_named("cls+mean"), (Poolings{Pooling::cls, Pooling::mean}));
  EXPECT_EQ(name(poolings_named("weightedmean+lasttoken+mean_sqrt_len_tokens")), "weightedmean+lasttoken+mean_sqrt_len_tokens");
  for (const char* text : {"", "cls+", "+cls", "median", "cls mean"})
    EXPECT_PRED2(has, error_of([&] { poolings_named(text); }), "there is no pooling") << text;
}

}  // namespace
}  // namespace m2bert::models
