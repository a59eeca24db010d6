#include "m2bert/ops/backend/cpu/simd/tile.h"

#include <gtest/gtest.h>

namespace m2bert::ops::cpu {
namespace {

TEST(Tile, ThreadsGetAboutTheSameRows) {
  EXPECT_EQ(rows_per_task(864, 2, 6), 108);   // 8 tasks, not 6 of 128 and one of 96
  EXPECT_EQ(rows_per_task(864, 2, 16), 112);  // 8 tasks, the last one of 80
  EXPECT_EQ(rows_per_task(4096, 2, 16), 128);
  EXPECT_EQ(rows_per_task(4096, 2, 6), 126);  // the largest multiple in a tile
  EXPECT_EQ(rows_per_task(100, 4), 32);
  EXPECT_EQ(rows_per_task(1, 8), 16);
  EXPECT_EQ(rows_per_task(0, 2), 0);
}

TEST(Tile, NoTaskIsLargerThanATile) {
  for (int multiple : {6, 16}) {
    for (int threads : {1, 2, 3, 64}) {
      for (int64_t rows = 1; rows < 2000; ++rows) {
        const int step = rows_per_task(rows, threads, multiple);
        ASSERT_GT(step, 0);
        ASSERT_LE(step, kTileRows);
        ASSERT_EQ(step % multiple, 0);
      }
    }
  }
}

}  // namespace
}  // namespace m2bert::ops::cpu
