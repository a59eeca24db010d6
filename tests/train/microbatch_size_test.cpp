#include "m2bert/train/microbatch_size.h"

#include <gtest/gtest.h>

namespace m2bert::train {
namespace {

TEST(MicrobatchSize, FreeMemoryIsKnownOnLinux) {
#ifdef __linux__
  EXPECT_GT(free_memory(), uint64_t{1} << 20);
#endif
}

TEST(MicrobatchSize, IsALineThroughTwoMeasurements) {
  const auto model = measure_memory([](int rows) { return uint64_t(1000 + 50 * rows); });
  EXPECT_DOUBLE_EQ(model.of(10), 1500);
  const auto flat = measure_memory([](int) { return uint64_t{700}; });  // rows too small to be seen
  EXPECT_LE(flat.of(1000), 2000);
}

TEST(MicrobatchSize, FitsIntoFourFifths) {
  const MemoryModel model{1000, 50};
  EXPECT_EQ(rows_that_fit(model, 1 << 30, 96), 96);
  EXPECT_EQ(rows_that_fit(model, 3000, 96), 16);  // 2400 bytes allowed: 28 rows
  EXPECT_EQ(rows_that_fit(model, 10, 96), 1);
}

}  // namespace
}  // namespace m2bert::train
