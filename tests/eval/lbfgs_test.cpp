#include "m2bert/eval/lbfgs.h"

#include <gtest/gtest.h>

namespace m2bert::eval {
namespace {

// Long and narrow: its condition number is 1e4.
double valley(std::span<const double> x, std::span<double> gradient) {
  double value = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double scale = i % 2 == 0 ? 1e4 : 1, difference = x[i] - static_cast<double>(i);
    value += scale * difference * difference / 2;
    gradient[i] = scale * difference;
  }
  return value;
}

TEST(Lbfgs, FindsTheMinimum) {
  const auto result = minimize_lbfgs(valley, std::vector<double>(20, 50.0), {.tolerance = 1e-9});
  EXPECT_TRUE(result.converged);
  EXPECT_LT(result.iterations, 60);
  for (size_t i = 0; i < 20; ++i) EXPECT_NEAR(result.x[i], static_cast<double>(i), 1e-8);
}

TEST(Lbfgs, StopsAfterItsIterations) {
  const auto result = minimize_lbfgs(valley, std::vector<double>(20, 50.0), {.max_iterations = 1});
  EXPECT_EQ(result.iterations, 1);
  EXPECT_FALSE(result.converged);
}

TEST(Lbfgs, StaysAtAMinimum) {
  const auto result = minimize_lbfgs(valley, {0, 1, 2});
  EXPECT_TRUE(result.converged);
  EXPECT_EQ(result.iterations, 0);
  EXPECT_EQ(result.x, (std::vector<double>{0, 1, 2}));
}

}  // namespace
}  // namespace m2bert::eval
