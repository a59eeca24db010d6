#include "m2bert/metrics/regression.h"

#include <gtest/gtest.h>

#include <cmath>

#include "m2bert/error.h"

namespace m2bert::metrics {
namespace {

using Doubles = std::vector<double>;
const double kInfinity = std::numeric_limits<double>::infinity();

TEST(Pearson, IsTheCosineOfTheDifferences) {
  EXPECT_DOUBLE_EQ(pearsonr(Doubles{1, 2, 3}, Doubles{1, 3, 2}), 0.5);
  EXPECT_DOUBLE_EQ(pearsonr(Doubles{1, 2, 4}, Doubles{-2, -4, -8}), -1);
  EXPECT_DOUBLE_EQ(pearsonr(Doubles{1e300, 2e300, 3e300}, Doubles{1, 3, 2}), 0.5) << "squares that overflow";
}

TEST(Pearson, IsNaNWithoutVariance) {
  EXPECT_TRUE(std::isnan(pearsonr(Doubles{0.1, 0.1, 0.1}, Doubles{1, 3, 2})));
  EXPECT_TRUE(std::isnan(pearsonr(Doubles{1, std::nan(""), 1}, Doubles{1, 3, 2})));
  EXPECT_TRUE(std::isnan(pearsonr(Doubles{1, 2, kInfinity}, Doubles{1, 3, 2})));
  EXPECT_THROW(pearsonr(Doubles{1}, Doubles{1}), Error);
  EXPECT_THROW(pearsonr(Doubles{1, 2}, Doubles{1, 2, 3}), Error);
}

TEST(Spearman, TiesShareTheirMeanRank) {
  EXPECT_EQ(rankdata(Doubles{3, 1, 3, 2, 3}), (Doubles{4, 1, 4, 2, 4}));
  EXPECT_DOUBLE_EQ(spearmanr(Doubles{1, 10, 100, 1000}, Doubles{-4, -3, -2, 7}), 1);
  // Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4.
  EXPECT_DOUBLE_EQ(spearmanr(Doubles{1, 2, 2, 3}, Doubles{1, 2, 3, 4}), 4.5 / std::sqrt(4.5 * 5));
  EXPECT_DOUBLE_EQ(spearmanr(Doubles{1, 2, kInfinity}, Doubles{1, 3, 2}), 0.5);
  EXPECT_TRUE(std::isnan(spearmanr(Doubles{1, 1, 1}, Doubles{1, 3, 2})));
  EXPECT_TRUE(std::isnan(spearmanr(Doubles{1, 2, std::nan("")}, Doubles{1, 3, 2})));
  EXPECT_TRUE(std::isnan(spearmanr(Doubles{1}, Doubles{1})));
}

TEST(Errors, OfNumbers) {
  EXPECT_DOUBLE_EQ(mean_squared_error(Doubles{1, 2, 3}, Doubles{1, 4, 2}), 5.0 / 3);
  EXPECT_DOUBLE_EQ(mean_absolute_error(Doubles{1, 2, 3}, Doubles{1, 4, 2}), 1);
  EXPECT_DOUBLE_EQ(r2_score(Doubles{1, 2, 3}, Doubles{1, 2, 4}), 0.5);
  EXPECT_DOUBLE_EQ(r2_score(Doubles{1, 1, 1}, Doubles{1, 1, 1}), 1);
  EXPECT_DOUBLE_EQ(r2_score(Doubles{1, 1, 1}, Doubles{1, 1, 2}), 0);
  EXPECT_DOUBLE_EQ(r2_score(Doubles{0.1, 0.1, 0.1}, Doubles{0.1, 0.1, 0.2}), 0);  // the mean of which is not 0.1
  EXPECT_TRUE(std::isnan(r2_score(Doubles{1}, Doubles{1})));
  EXPECT_THROW(mean_squared_error(Doubles{}, Doubles{}), Error);
  EXPECT_THROW(mean_absolute_error(Doubles{1}, Doubles{std::nan("")}), Error);
}

}  // namespace
}  // namespace m2bert::metrics
