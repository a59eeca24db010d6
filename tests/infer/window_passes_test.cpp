#include "m2bert/infer/window_passes.h"

#include <gtest/gtest.h>

namespace m2bert::infer {
namespace {

// A window of one text a batch, whose ids are 1, 2, 3.
Window three_batches() {
  Window window;
  for (const int id : {1, 2, 3}) {
    TextBatch batch;
    batch.rows = batch.length = 1;
    batch.input_ids = {id};
    window.batches.push_back(batch);
  }
  return window;
}

class WindowPassesTest : public ::testing::TestWithParam<bool> {
 protected:
  bool launches_ahead() const { return GetParam(); }
  WindowPasses passes() {
    return {window,
            [this](const TextBatch& batch) {
              built.push_back(batch.input_ids[0]);
              return mx::add(mx::array({1, 2, 3, 4}, {2, 2}), mx::array(10 * batch.input_ids[0]));
            },
            launches_ahead()};
  }

  const Window window = three_batches();
  std::vector<int> built;
};

TEST_P(WindowPassesTest, GiveTheValuesOfEachBatchInOrder) {
  WindowPasses passes = this->passes();
  EXPECT_EQ(passes.next(), (std::vector<float>{11, 12, 13, 14}));
  EXPECT_EQ(passes.next(), (std::vector<float>{21, 22, 23, 24}));
  EXPECT_EQ(passes.next(), (std::vector<float>{31, 32, 33, 34}));
  EXPECT_EQ(built, (std::vector<int>{1, 2, 3}));
}

TEST_P(WindowPassesTest, AreOneBatchAheadIfTheyLaunchAhead) {
  const size_t ahead = launches_ahead() ? 1 : 0;
  WindowPasses passes = this->passes();
  EXPECT_EQ(built.size(), ahead);
  passes.next();
  EXPECT_EQ(built.size(), 1 + ahead);
}

TEST_P(WindowPassesTest, ReadColumnMajorValuesRowByRow) {
  WindowPasses passes(window, [](const TextBatch&) { return mx::transpose(mx::array({1, 2, 3, 4}, {2, 2})); }, launches_ahead());
  EXPECT_EQ(passes.next(), (std::vector<float>{1, 3, 2, 4}));
}

INSTANTIATE_TEST_SUITE_P(LaunchesAhead, WindowPassesTest, ::testing::Bool());

TEST(WindowPasses, OfAWindowWithoutBatchesLaunchNothing) {
  const Window window;
  const WindowPasses passes(window, [](const TextBatch&) -> mx::array { throw std::logic_error("there is no batch"); }, true);
}

}  // namespace
}  // namespace m2bert::infer
