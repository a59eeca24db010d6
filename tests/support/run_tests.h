#pragma once
#include <gtest/gtest.h>

#include <cstdio>

namespace m2bert::test {

// RUN_ALL_TESTS() that fails when a filter leaves no test.
inline int run_tests() {
  const int failed = RUN_ALL_TESTS();
  if (failed || ::testing::UnitTest::GetInstance()->test_to_run_count() > 0) return failed;
  std::fprintf(stderr, "No test matches the filter '%s'.\n", ::testing::GTEST_FLAG(filter).c_str());
  return 1;
}

}  // namespace m2bert::test
