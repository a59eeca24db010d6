#include "m2bert/metrics/language.h"

#include <gtest/gtest.h>

#include <cmath>

namespace m2bert::metrics {
namespace {

TEST(LanguageCrossEntropy, WeightsTokensNotBatches) {
  LanguageCrossEntropy metric;
  EXPECT_TRUE(std::isnan(metric.value()));
  metric.add(3, 1);
  metric.add(9, 5);
  EXPECT_DOUBLE_EQ(metric.value(), 2);
  EXPECT_EQ(metric.tokens(), 6);
}

TEST(MaskedAccuracy, IsTheFractionOfCorrectTokens) {
  MaskedAccuracy metric;
  EXPECT_TRUE(std::isnan(metric.value()));
  metric.add(1, 2);
  metric.add(2, 6);
  EXPECT_DOUBLE_EQ(metric.value(), 0.375);
}

TEST(Perplexity, IsTheExponential) {
  EXPECT_DOUBLE_EQ(perplexity(std::log(30528.0)), 30528.0);
  EXPECT_TRUE(std::isinf(perplexity(1e4)));
}

}  // namespace
}  // namespace m2bert::metrics
