#include "m2bert/eval/logistic_regression.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/scratch.h"

namespace m2bert::eval {
namespace {

using Labels = std::vector<int32_t>;

TEST(LogisticRegression, MinimizesThePenalizedLoss) {
  // Two samples at -1 and 1: the intercept is 0, and w = 2 / (1 + exp(w)) where the gradient vanishes.
  const LogisticRegression regression(std::vector<float>{-1, 1}, 1, Labels{0, 1}, 2, {.solver = {.tolerance = 1e-10}});
  ASSERT_EQ(regression.outputs(), 1u);
  const double w = regression.weights()[0];
  EXPECT_NEAR(w, 2 / (1 + std::exp(w)), 1e-9);
  EXPECT_NEAR(regression.weights()[1], 0, 1e-9);
  EXPECT_TRUE(regression.converged());
  EXPECT_NEAR(regression.decision_function(std::vector<float>{2})[0], 2 * w, 1e-8);
}

TEST(LogisticRegression, AWeakPenaltyAllowsLargerWeights) {
  const std::vector<float> x{-1, 1};
  EXPECT_GT(LogisticRegression(x, 1, Labels{0, 1}, 2, {.c = 100}).weights()[0], 3 * LogisticRegression(x, 1, Labels{0, 1}, 2).weights()[0]);
}

TEST(LogisticRegression, SeparatesSeveralClasses) {
  const std::vector<float> x{0, 5, 0, 6, 5, 0, 6, 0, -5, -5, -6, -5};
  const Labels labels{0, 0, 1, 1, 2, 2};
  const LogisticRegression regression(x, 2, labels, 3);
  EXPECT_EQ(regression.outputs(), 3u);
  EXPECT_EQ(regression.predict(x), labels);
  double intercepts = 0;
  for (size_t k = 0; k < 3; ++k) intercepts += regression.weights()[k * 3 + 2];
  EXPECT_NEAR(intercepts, 0, 1e-6) << "the classes share nothing";
}

TEST(LogisticRegression, RefusesWhatCannotBeLearned) {
  const std::vector<float> x{-1, 1};
  EXPECT_PRED2(test::has, test::error_of([&] { LogisticRegression(x, 1, Labels{1, 1}, 2); }), "samples of at least two classes");
  EXPECT_PRED2(test::has, test::error_of([&] { LogisticRegression(x, 1, Labels{0, 2}, 2); }), "labels from 0 to 1");
  EXPECT_PRED2(test::has, test::error_of([&] { LogisticRegression(x, 2, Labels{0, 1}, 2); }),
               "2 values are no 2 vectors with 2 dimensions");
}

}  // namespace
}  // namespace m2bert::eval
