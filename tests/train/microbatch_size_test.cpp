#include "m2bert/train/microbatch_size.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "m2bert/mx.h"

namespace m2bert::train {
namespace {

TEST(MicrobatchSize, FreeMemoryIsKnownOnLinux) {
#ifdef __linux__
  EXPECT_GT(free_memory(), uint64_t{1} << 20);
#endif
}

// The gradients take as much memory as a few rows, so the cost of a row shows only with more rows.
TEST(MicrobatchSize, LooksUntilTheRowsAreSeen) {
  std::vector<int> tried;
  const auto most_of_both = [&](int rows) {
    tried.push_back(rows);
    return uint64_t(std::max(10000, 1000 * rows));
  };
  // 2 rows show nothing yet, and the search ends at the limit.
  EXPECT_DOUBLE_EQ(memory_of_row(most_of_both, 2), 5000);
  EXPECT_EQ(tried, (std::vector<int>{1, 2}));
  tried.clear();
  EXPECT_DOUBLE_EQ(memory_of_row(most_of_both, 1000), 1000);
  EXPECT_EQ(tried, (std::vector<int>{1, 2, 4, 8, 16}));
  // Never less than the real cost of a row.
  EXPECT_GE(memory_of_row([](int rows) { return uint64_t(1000 + 500 * rows); }, 100), 500);
  EXPECT_GE(memory_of_row([](int) { return uint64_t{0}; }, 8), 1);
}

TEST(MicrobatchSize, SeesThePeakOfWork) {
  const auto bytes = peak_memory_of([] { mx::eval(mx::sum(mx::random::normal({1 << 22}))); });
  EXPECT_GE(bytes, uint64_t{16} << 20);
  EXPECT_LT(bytes, uint64_t{200} << 20);
#ifdef __linux__
  const auto plain = peak_memory_of([] {  // fresh pages: malloc may have some that were freed
    constexpr size_t size = 50 << 20;
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    std::memset(memory, 1, size);
    ::munmap(memory, size);
  });
  EXPECT_GE(plain, uint64_t{45} << 20);
#endif
}

TEST(MicrobatchSize, FitsIntoFourFifths) {
  EXPECT_EQ(rows_that_fit(50, 1 << 30, 96), 96);
  EXPECT_EQ(rows_that_fit(50, 3000, 96), 32);  // 2400 bytes allowed: 48 rows
  EXPECT_EQ(rows_that_fit(50, 10, 96), 1);
}

}  // namespace
}  // namespace m2bert::train
