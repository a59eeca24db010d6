#include "m2bert/train/model_flops.h"

#include <gtest/gtest.h>

#include "tests/support/tiny_config.h"

namespace m2bert::train {
namespace {

models::Config attention() {
  models::Config c = test::tiny_bert_config();
  c.vocab_size = 1000;
  c.intermediate_size = 64;
  return c;
}

// 2 m n k per matmul, counted by hand: projections 4 x [16, 16], two matmuls with 16 x 64, attention scores and values over 8 positions.
TEST(ModelFlops, CountsTheProducts) {
  const double layer = 2.0 * 16 * 64 + 2.0 * 16 * 64 * 2 + 4.0 * 8 * 16, head = 2.0 * 16 * (16 + 1000);
  EXPECT_DOUBLE_EQ(training_flops(attention(), 3, 8, 5 * head), 3 * (24 * 2 * layer + 5 * head));
}

// Block-diagonal matmuls of n blocks take n times fewer operations, and the convolution grows with the logarithm of the length.
TEST(ModelFlops, KnowsTheMonarchMixer) {
  models::Config dense = attention(), blocks = attention();
  dense.family = blocks.family = models::Family::m2;
  dense.monarch_mixer_sequence_mixing = blocks.monarch_mixer_sequence_mixing = true;
  blocks.use_monarch_mlp = true;
  EXPECT_DOUBLE_EQ(training_flops(dense, 1, 8, 0) - training_flops(blocks, 1, 8, 0), 3 * 8 * 2 * 0.75 * 3 * 2.0 * 16 * 64);
  const double grown = training_flops(blocks, 1, 256, 0) / 256 - training_flops(blocks, 1, 128, 0) / 128;
  EXPECT_NEAR(grown, 3 * 2 * 16 * 2 * 5.0, 1e-6);
}

TEST(ModelFlops, MeasuresAPeak) { EXPECT_GT(measured_peak_flops(mx::float32), 1e8); }

}  // namespace
}  // namespace m2bert::train
