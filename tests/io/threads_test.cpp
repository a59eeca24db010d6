#include "m2bert/threads.h"

#include "tests/support/scratch.h"

namespace m2bert {
namespace {

TEST(Threads, AreSetAndReadBack) {
  EXPECT_GE(available_cpus(), 1);
  set_threads(1);
  EXPECT_EQ(threads(), 1);
  set_threads(3);
  EXPECT_EQ(threads(), 3);
  set_threads(0);
  EXPECT_EQ(threads(), available_cpus());
  EXPECT_NE(test::error_of([] { set_threads(-1); }), "");
  EXPECT_NE(test::error_of([] { set_threads(1 << 20); }), "");
}

}  // namespace
}  // namespace m2bert
