#include "m2bert/train/votes.h"

#include <gtest/gtest.h>

namespace m2bert::train {
namespace {

std::vector<float> sum_of(const std::vector<Vote>& votes) {
  auto sums = values_of({});
  for (const auto& vote : votes) {
    const auto values = values_of(vote);
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += values.at(i);
  }
  return sums;
}

TEST(Votes, CountsAreExactInFloat32) {
  for (const int64_t count : {int64_t{0}, int64_t{4095}, int64_t{4096}, (int64_t{1} << 24) - 1, (int64_t{1} << 24) + 1}) {
    for (const int processes : {1, 3, 4095, 4096}) {
      if (count * processes >= int64_t{1} << 36) continue;
      std::vector<Vote> votes(size_t(processes), Vote{.ready = Counts{count, 2 * count / 3, count / 2}});
      votes[0].ready->samples = 1;
      const auto outcome = outcome_of(sum_of(votes), processes);
      ASSERT_TRUE(outcome.totals.has_value());
      EXPECT_FALSE(outcome.stop);
      EXPECT_EQ(outcome.totals->samples, count * (processes - 1) + 1);
      EXPECT_EQ(outcome.totals->tokens, 2 * count / 3 * processes);
      EXPECT_EQ(outcome.totals->weight, count / 2 * processes);
    }
  }
}

TEST(Votes, OneProcessThatIsNotReadyIsEnough) {
  const Vote ready{.ready = Counts{8, 256, 30}};
  EXPECT_TRUE(outcome_of(sum_of({ready, ready, ready}), 3).totals.has_value());
  EXPECT_FALSE(outcome_of(sum_of({ready, {}, ready}), 3).totals.has_value());
  EXPECT_FALSE(outcome_of(sum_of({ready, {}, ready}), 3).stop);
}

TEST(Votes, OneProcessThatWasAskedToStopIsEnough) {
  const Vote ready{.ready = Counts{8, 256, 30}};
  const auto outcome = outcome_of(sum_of({ready, {.stop = true}, ready}), 3);
  EXPECT_TRUE(outcome.stop);
  EXPECT_FALSE(outcome.totals.has_value());
}

}  // namespace
}  // namespace m2bert::train
