#include "m2bert/optim/weight_average.h"

#include <gtest/gtest.h>

#include <cmath>

namespace m2bert::optim {
namespace {

TEST(WeightAverage, FollowsTheParameters) {
  auto w = mx::array({1.0f, 2.0f});
  WeightAverage average({{"w", &w, nn::Role::parameter}});
  w = mx::array({3.0f, 6.0f});
  average.update(0.75);
  EXPECT_TRUE(mx::array_equal(*average.state()[0].array, mx::array({1.5f, 3.0f})).item<bool>());
  average.swap();
  EXPECT_TRUE(mx::array_equal(w, mx::array({1.5f, 3.0f})).item<bool>());
  average.swap();
  EXPECT_TRUE(mx::array_equal(w, mx::array({3.0f, 6.0f})).item<bool>());
}

TEST(WeightAverage, HalvesInAHalfLife) {
  const double smoothing = smoothing_of_half_life(100, 5);
  EXPECT_NEAR(std::pow(smoothing, 20), 0.5, 1e-12);
}

}  // namespace
}  // namespace m2bert::optim
