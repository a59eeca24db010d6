#include "m2bert/train/console.h"

#include <gtest/gtest.h>

namespace m2bert::train {
namespace {

TEST(Console, ShowsTheMainFigures) {
  Record record{{12, 0, 96, 3072}, {}};
  record.add("loss/train/total", 6.12345);
  record.add("l2_norm/grad/global", 1.5);
  record.add("memory/arrays", 1e9);
  record.add("lr-AdamW/all", 8e-4);
  EXPECT_EQ(line_of(record, {optim::parse_time("1000ba", "t"), 0}),
            "batch 12 of 1,000: loss 6.1235, gradient norm 1.5, learning rate 0.0008");
  EXPECT_EQ(line_of(record, {optim::parse_time("1000sp", "t"), 0}), "batch 12: loss 6.1235, gradient norm 1.5, learning rate 0.0008");
}

TEST(Console, ShowsTheMetricsOfAnyTask) {
  Record record{{12, 0, 96, 3072}, {}};
  record.add("metrics/eval/Perplexity", 12.5);
  record.add("metrics/eval/F1", 0.75);
  record.add("metrics/train/F1", 0.5);
  EXPECT_EQ(line_of(record, {optim::parse_time("1000ba", "t"), 0}), "batch 12 of 1,000: perplexity 12.50, F1 0.7500");
}

}  // namespace
}  // namespace m2bert::train
