#include "m2bert/metrics/bootstrap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "m2bert/error.h"
#include "m2bert/metrics/regression.h"

namespace m2bert::metrics {
namespace {

TEST(Quantile, InterpolatesLinearly) {
  EXPECT_DOUBLE_EQ(quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile({1, 2, 3, 4}, 0.1), 1.3);
  EXPECT_DOUBLE_EQ(quantile({1, 2}, 1), 2);
  EXPECT_THROW(quantile({}, 0.5), Error);
  EXPECT_THROW(quantile({1}, 1.5), Error);
}

TEST(Bootstrap, OfTheMeanHasTheWidthOfItsStandardError) {
  std::vector<double> values;
  for (int i = 0; i < 1000; ++i) values.push_back(i % 2);  // standard error 0.5 / sqrt(1000)
  const auto interval = bootstrap_interval_of_mean(values, {.resamples = 4000});
  EXPECT_NEAR(interval.low, 0.5 - 1.96 * 0.5 / std::sqrt(1000.0), 2e-3);
  EXPECT_NEAR(interval.high, 0.5 + 1.96 * 0.5 / std::sqrt(1000.0), 2e-3);
  const auto narrow = bootstrap_interval_of_mean(values, {.confidence = 0.5, .resamples = 4000});
  EXPECT_NEAR(narrow.high, 0.5 + 0.674 * 0.5 / std::sqrt(1000.0), 2e-3);
}

TEST(Bootstrap, DependsOnItsSeedOnly) {
  const std::vector<double> values{0.1, 0.7, 0.2, 0.9, 0.5, 0.3};
  const auto a = bootstrap_interval_of_mean(values, {.seed = 5}), b = bootstrap_interval_of_mean(values, {.seed = 5});
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
  const auto c = bootstrap_interval_of_mean(values, {.resamples = 7, .seed = 6});
  EXPECT_NE(a.low, c.low);
  const auto constant = bootstrap_interval_of_mean(std::vector<double>{0.25, 0.25});
  EXPECT_EQ(constant.low, 0.25);
  EXPECT_EQ(constant.high, 0.25);
}

TEST(Bootstrap, LeavesOutResamplesWithoutAValue) {
  const std::vector<double> x{1, 2, 3}, y{1, 2, 3};  // a resample of one index only has no correlation
  const auto correlation = [&](std::span<const size_t> indices) {
    std::vector<double> a, b;
    for (const size_t i : indices) {
      EXPECT_LT(i, x.size());
      a.push_back(x[i]);
      b.push_back(y[i]);
    }
    return pearsonr(a, b);
  };
  const auto interval = bootstrap_interval(x.size(), correlation);
  EXPECT_NEAR(interval.low, 1, 1e-12);
  EXPECT_TRUE(std::isnan(bootstrap_interval(1, [](auto) { return std::nan(""); }).low));
}

TEST(Bootstrap, RefusesWhatHasNoInterval) {
  EXPECT_THROW(bootstrap_interval_of_mean({}), Error);
  EXPECT_THROW(bootstrap_interval_of_mean(std::vector<double>{1}, {.confidence = 1}), Error);
  EXPECT_THROW(bootstrap_interval_of_mean(std::vector<double>{1}, {.resamples = 0}), Error);
}

}  // namespace
}  // namespace m2bert::metrics
