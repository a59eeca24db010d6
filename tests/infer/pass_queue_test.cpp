#include "m2bert/infer/pass_queue.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"

namespace m2bert::infer {
namespace {

// A window of batches with one id each.
Window window_of(std::initializer_list<int> ids) {
  Window window;
  for (const int id : ids) {
    TextBatch batch;
    batch.rows = batch.length = 1;
    batch.input_ids = {id};
    window.batches.push_back(batch);
  }
  return window;
}

class PassQueueTest : public ::testing::TestWithParam<bool> {
 protected:
  bool launches_ahead() const { return GetParam(); }

  const Window first_ = window_of({1, 2, 3}), second_ = window_of({4, 5});
  std::vector<mx::array> built_;
  PassQueue queue_{[this](const Window&, const TextBatch& batch) {
                     built_.push_back(mx::add(mx::array({1.f, 2.f, 3.f, 4.f}, {2, 2}), mx::array(10.f * float(batch.input_ids[0]))));
                     return built_.back();
                   },
                   launches_ahead()};
};

TEST_P(PassQueueTest, GivesTheValuesOfEachBatchInOrder) {
  queue_.add(first_);
  queue_.add(second_);
  for (const float id : {1, 2, 3, 4, 5}) {
    EXPECT_EQ(queue_.next(), (std::vector<float>{10 * id + 1, 10 * id + 2, 10 * id + 3, 10 * id + 4}));
  }
  EXPECT_EQ(built_.size(), 5u);
  EXPECT_THROW(queue_.next(), Error);
}

TEST_P(PassQueueTest, LaunchesOneBatchAheadOrNone) {
  const size_t ahead = launches_ahead() ? 1 : 0;
  queue_.add(first_);
  EXPECT_EQ(built_.size(), ahead);
  queue_.add(second_);
  EXPECT_EQ(built_.size(), ahead);
  for (size_t read = 1; read < 5; ++read) {
    queue_.next();
    ASSERT_EQ(built_.size(), read + ahead);
    if (launches_ahead()) {
      EXPECT_NE(built_.back().status(), mx::array::Status::unscheduled);
    }
  }
  queue_.next();
  EXPECT_EQ(built_.size(), 5u);
}

TEST_P(PassQueueTest, TakesWindowsAfterItWasEmpty) {
  queue_.add(Window{});
  queue_.add(second_);
  queue_.next(), queue_.next();
  queue_.add(first_);
  EXPECT_EQ(built_.size(), launches_ahead() ? 3u : 2u);
  EXPECT_EQ(queue_.next().front(), 11);
}

TEST_P(PassQueueTest, ReadsTransposedValuesRowByRow) {
  PassQueue queue([](const Window&, const TextBatch&) { return mx::transpose(mx::array({1, 2, 3, 4}, {2, 2})); }, launches_ahead());
  queue.add(first_);
  EXPECT_EQ(queue.next(), (std::vector<float>{1, 3, 2, 4}));
}

INSTANTIATE_TEST_SUITE_P(LaunchesAhead, PassQueueTest, ::testing::Bool());

}  // namespace
}  // namespace m2bert::infer
