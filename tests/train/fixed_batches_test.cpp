#include "m2bert/train/fixed_batches.h"

#include "m2bert/checkpoint/safetensors.h"
#include "tiny_run.h"

namespace m2bert::train {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

TEST(FixedBatches, GivesTheFileInOrder) {
  FixedBatches source(trainlog() / "inputs.safetensors", 0, 1);
  EXPECT_EQ(source.samples_per_epoch(), 240U);
  int count = 0;
  while (const auto batch = source.next()) {
    EXPECT_EQ(batch->rows, 8);
    EXPECT_EQ(batch->input_ids.size(), 8U * 32U);
    ++count;
  }
  EXPECT_EQ(count, 30);
}

TEST(FixedBatches, SharesRowsAndSeeks) {
  FixedBatches whole(trainlog() / "inputs.safetensors", 0, 1), second(trainlog() / "inputs.safetensors", 1, 2);
  whole.seek({0, 16});
  second.seek({3, 16});
  const auto all = whole.next(), half = second.next();
  ASSERT_TRUE(all && half);
  EXPECT_EQ(std::vector<int32_t>(all->labels.begin() + 4 * 32, all->labels.end()), half->labels);
}

TEST(FixedBatches, RefusesWhatIsNoBatches) {
  const Scratch scratch;
  auto open = [&](const checkpoint::TensorMap& tensors, int size = 1) {
    checkpoint::save_safetensors(scratch / "b.safetensors", tensors);
    return error_of([&] { FixedBatches(scratch / "b.safetensors", 0, size).require_ids_below(10); });
  };
  const auto ids = mx::zeros({2, 3, 4}, mx::int32);
  EXPECT_PRED2(has, open({{"input_ids", ids}}), "has no tensor attention_mask");
  EXPECT_PRED2(has, open({{"input_ids", mx::zeros({2, 3})}}), "wants integers [batches, rows, length]");
  EXPECT_PRED2(has, open({{"input_ids", ids}, {"attention_mask", mx::zeros({2, 3, 5}, mx::int32)}}), "attention_mask has shape");
  EXPECT_PRED2(
      has, open({{"input_ids", ids}, {"attention_mask", mx::ones({2, 3, 4}, mx::int32)}, {"labels", mx::ones({2, 3, 4}, mx::int32)}}, 2),
      "2 processes cannot share 3 rows evenly");
  EXPECT_PRED2(
      has, open({{"input_ids", ids + mx::array(10)}, {"attention_mask", mx::ones({2, 3, 4}, mx::int32)}, {"labels", ids - mx::array(5)}}),
      "input_ids holds 10");
  EXPECT_PRED2(has, open({{"input_ids", ids}, {"attention_mask", mx::ones({2, 3, 4}, mx::int32)}, {"labels", ids - mx::array(5)}}),
               "labels holds -5");
}

}  // namespace
}  // namespace m2bert::train
