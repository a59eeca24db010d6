#include "m2bert/io/number_text.h"

#include <gtest/gtest.h>

namespace m2bert::io {
namespace {

TEST(NumberText, HasTheDigitsAskedFor) {
  EXPECT_EQ(fixed_text(12.3456, 2), "12.35");
  EXPECT_EQ(fixed_text(-0.5, 0), "-0");
}

TEST(NumberText, CountsInTheSingularAndThePlural) {
  EXPECT_EQ(counted(1, "sample"), "1 sample");
  EXPECT_EQ(counted(0, "sample"), "0 samples");
  EXPECT_EQ(counted(2, "sample"), "2 samples");
}

}  // namespace
}  // namespace m2bert::io
