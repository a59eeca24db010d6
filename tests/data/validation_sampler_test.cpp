#include "m2bert/data/validation_sampler.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

uint64_t chosen(const ValidationSampler& sampler, uint64_t documents) {
  uint64_t count = 0;
  for (uint64_t n = 0; n < documents; ++n) count += sampler(n) ? 1 : 0;
  return count;
}

RC_GTEST_PROP(ValidationSamplerProperty, ACountIsExact, ()) {
  const auto total = *rc::gen::inRange<uint64_t>(1, 3000);
  const auto count = *rc::gen::inRange<uint64_t>(0, total + 1);
  RC_ASSERT(chosen(ValidationSampler::by_count(count, total, *rc::gen::inRange<uint64_t>(0, 5)), total) == count);
}

RC_GTEST_PROP(ValidationSamplerProperty, AFractionIsRightWithinOne, ()) {
  const double fraction = *rc::gen::inRange(0, 5001) / 10000.0;
  const auto documents = *rc::gen::inRange<uint64_t>(1, 5000);
  const double wanted = fraction * static_cast<double>(documents);
  const auto count = static_cast<double>(chosen(ValidationSampler::by_fraction(fraction, *rc::gen::inRange<uint64_t>(0, 5)), documents));
  RC_ASSERT(std::abs(count - wanted) <= 1.0);
}

TEST(ValidationSampler, IsSpreadAndDependsOnTheSeed) {
  const auto one = ValidationSampler::by_fraction(0.1, 1), other = ValidationSampler::by_fraction(0.1, 2);
  int same = 0;
  std::vector<int> places(10);
  for (uint64_t n = 0; n < 10000; ++n) {
    same += one(n) && other(n) ? 1 : 0;
    if (one(n)) ++places[n % 10];
  }
  EXPECT_LT(same, 200);
  for (const int count : places) EXPECT_NEAR(count, 100, 45);
}

TEST(ValidationSampler, Problems) {
  EXPECT_TRUE(test::has(test::error_of([] { ValidationSampler::by_fraction(0.6, 0); }), "wants 0 to 0.5"));
  EXPECT_TRUE(test::has(test::error_of([] { ValidationSampler::by_fraction(-1, 0); }), "wants 0 to 0.5"));
  EXPECT_TRUE(test::has(test::error_of([] { ValidationSampler::by_count(3, 2, 0); }), "3 documents are wanted"));
  EXPECT_EQ(chosen(ValidationSampler(), 100), 0u);
}

}  // namespace
}  // namespace m2bert::data
