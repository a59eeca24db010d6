#include "m2bert/nn/init.h"

#include <gtest/gtest.h>

namespace m2bert::nn {
namespace {

bool same(const mx::array& a, const mx::array& b) { return mx::array_equal(a, b).item<bool>(); }

TEST(KeySequence, TheSeedDecidesAndNoKeyComesTwice) {
  KeySequence one(7), again(7), other(8);
  const auto first = one.next(), second = one.next();
  EXPECT_TRUE(same(first, again.next()));
  EXPECT_TRUE(same(second, again.next()));
  EXPECT_FALSE(same(first, second));
  EXPECT_FALSE(same(first, other.next()));
}

TEST(Init, NormalHasTheDeviation) {
  KeySequence keys(1);
  const auto x = normal({100, 100}, 0.5f, keys);
  EXPECT_EQ(x.dtype(), mx::float32);
  EXPECT_NEAR(mx::mean(x).item<float>(), 0, 0.02f);
  EXPECT_NEAR(mx::std(x).item<float>(), 0.5f, 0.02f);
}

TEST(Init, UniformFillsTheRange) {
  KeySequence keys(1);
  const auto x = uniform({100, 100}, 0.5f, keys);
  EXPECT_GE(mx::min(x).item<float>(), -0.5f);
  EXPECT_LT(mx::min(x).item<float>(), -0.49f);
  EXPECT_LE(mx::max(x).item<float>(), 0.5f);
  EXPECT_GT(mx::max(x).item<float>(), 0.49f);
}

}  // namespace
}  // namespace m2bert::nn
