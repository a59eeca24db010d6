// A single process; tests/cli/launch_test.cpp has several.
#include "m2bert/train/processes.h"

#include <gtest/gtest.h>

namespace m2bert::train {
namespace {

TEST(Processes, OneByItselfAddsNothing) {
  const Processes alone;
  EXPECT_EQ(alone.size(), 1);
  EXPECT_TRUE(alone.first());
  EXPECT_EQ(alone.sum_counts({1, 2}), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(alone.sum_value(0.1), 0.1);
  EXPECT_TRUE(alone.any(true));
  EXPECT_FALSE(alone.any(false));
  EXPECT_EQ(alone.max(-7), -7);
  EXPECT_EQ(alone.broadcast("text"), "text");
  EXPECT_EQ(alone.gather(std::vector<int64_t>{5, -1}), (std::vector<int64_t>{5, -1}));
}

}  // namespace
}  // namespace m2bert::train
