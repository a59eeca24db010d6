#include "m2bert/nn/blockdiag_linear.h"

#include "golden.h"
#include "m2bert/error.h"
#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

// 10 columns and 14 rows in 4 blocks: padded to 12, truncated from 16, and shuffled if the file says so.
TEST(BlockdiagLinear, GoldenOfPaddedAndShuffled) {
  for (const char* file : {"blockdiag_linear_shuffle0", "blockdiag_linear_shuffle1"}) {
    const Golden golden(file);
    auto f = [&](const std::vector<mx::array>& in) {
      nn::BlockdiagLinear layer(in[0].shape(-1), in[2].shape(0), golden.attr("nblocks"), true, golden.attr("shuffle") != 0);
      EXPECT_EQ(layer.weight.shape(), in[1].shape());
      layer.weight = in[1];
      layer.bias = in[2];
      return layer(in[0]);
    };
    expect_golden(file, {"x", "weight", "bias"}, f);
  }
}

TEST(BlockdiagLinear, ShufflesAlsoWhatItPads) {
  nn::BlockdiagLinear layer(5, 3, 3, false, true);  // 5 columns, padded to 6
  layer.weight = mx::array({1.0f, 10.0f, 1.0f, 10.0f, 1.0f, 10.0f}, {3, 1, 2});
  // groups of 2: (0 1)(2 3)(4 -) -> 0 2 4 1 3 -
  expect_near(layer(mx::array({1.0f, 2.0f, 3.0f, 4.0f, 5.0f}, {1, 5})), mx::array({31.0f, 25.0f, 4.0f}, {1, 3}), 0);
}

TEST(BlockdiagLinear, SupportsNoRowsAndNamesWrongColumns) {
  nn::BlockdiagLinear layer(10, 14, 4, true, true);
  EXPECT_EQ(layer(mx::zeros({0, 10})).shape(), mx::Shape({0, 14}));
  EXPECT_THROW(layer(mx::zeros({2, 11})), Error);
}

}  // namespace
}  // namespace m2bert
