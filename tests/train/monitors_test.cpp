#include "m2bert/train/monitors.h"

#include <gtest/gtest.h>

namespace m2bert::train {
namespace {

Gradient gradient() {
  Gradient g;
  g.samples = 8;
  g.tokens = 256;
  g.weight = 30;
  g.arrays = {mx::array({3.0f, 4.0f})};
  return g;
}

optim::Timestamp at(int64_t batch) { return {batch, 0, 8 * batch, 256 * batch}; }

Record after(Monitor& monitor, int64_t batch, double seconds) {
  auto g = gradient();
  Record record{at(batch), {}};
  monitor.after_step({at(batch - 1), at(batch), g, 0.5, seconds}, record);
  return record;
}

TEST(SpeedMonitor, IsTheRateOverItsWindow) {
  SpeedMonitor monitor(2, 4, [](const Gradient& g) { return double(g.tokens) * 10; }, 1e4);
  EXPECT_TRUE(after(monitor, 1, 100).values.empty());
  after(monitor, 2, 101);
  after(monitor, 3, 102);
  const auto record = after(monitor, 4, 103);
  EXPECT_DOUBLE_EQ(*record.find("throughput/batches_per_sec"), 1);
  EXPECT_DOUBLE_EQ(*record.find("throughput/tokens_per_sec"), 256);
  EXPECT_DOUBLE_EQ(*record.find("throughput/device/tokens_per_sec"), 64);
  EXPECT_DOUBLE_EQ(*record.find("throughput/device/mfu"), 0.256);
}

struct One {
  mx::array w = mx::array({6.0f, 8.0f});
  optim::AdamW optimizer{{{"w", &w, nn::Role::parameter}}, {{"all", 0.1, 0, {0}}}, {}};
};

TEST(LearningRateMonitor, IsThatOfEachGroup) {
  One one;
  LearningRateMonitor monitor(one.optimizer);
  EXPECT_DOUBLE_EQ(*after(monitor, 1, 1).find("lr-AdamW/all"), 0.05);
}

TEST(OptimizerMonitor, HasTheNorms) {
  One one;
  OptimizerMonitor gradients(one.optimizer, false), all(one.optimizer, true);
  const auto few = after(gradients, 1, 1), many = after(all, 1, 1);
  EXPECT_FLOAT_EQ(float(*few.find("l2_norm/grad/w")), 5);
  EXPECT_EQ(few.find("l2_norm/param/w"), nullptr);
  EXPECT_FLOAT_EQ(float(*many.find("l2_norm/param/w")), 10);
  EXPECT_EQ(*many.find("l2_norm/moment/w"), 0);
  EXPECT_EQ(*many.find("l2_norm/second_moment/w"), 0);
}

TEST(MemoryMonitor, CountsBytes) {
  MemoryMonitor monitor;
  const auto record = after(monitor, 1, 1);
  EXPECT_GT(*record.find("memory/peak_resident"), 1e6);
  EXPECT_NE(record.find("memory/arrays"), nullptr);
}

TEST(RuntimeEstimator, GoesByTheShareThatIsDone) {
  RuntimeEstimator monitor({optim::parse_time("100ba", "t"), 0});
  after(monitor, 21, 1);  // resumed after 20
  EXPECT_NEAR(*after(monitor, 60, 40).find("time/remaining_estimate"), 40, 1e-9);
}

}  // namespace
}  // namespace m2bert::train
