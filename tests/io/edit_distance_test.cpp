#include "m2bert/io/edit_distance.h"

#include <gtest/gtest.h>

namespace m2bert::io {
namespace {

TEST(EditDistance, CountsInsertionsDeletionsReplacementsAndSwaps) {
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("abc", ""), 3U);
  EXPECT_EQ(edit_distance("seed", "seed"), 0U);
  EXPECT_EQ(edit_distance("sed", "seed"), 1U);
  EXPECT_EQ(edit_distance("seat", "seed"), 2U);
  EXPECT_EQ(edit_distance("max_duratoin", "max_duration"), 1U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("ca", "abc"), 3U);  // no letter is edited twice
}

TEST(EditDistance, NearestNameWithinALimit) {
  const std::vector<std::string> names = {"lr", "betas", "weight_decay"};
  EXPECT_EQ(nearest_name("wieght_decay", names, 1), "weight_decay");
  EXPECT_EQ(nearest_name("beta", names, 1), "betas");
  EXPECT_EQ(nearest_name("momentum", names, 3), std::nullopt);
  EXPECT_EQ(nearest_name("lr", {}, 5), std::nullopt);
}

}  // namespace
}  // namespace m2bert::io
