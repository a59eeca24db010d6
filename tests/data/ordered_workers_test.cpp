#include "m2bert/data/ordered_workers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using Workers = OrderedWorkers<int, std::string>;

std::function<std::optional<int>()> up_to(int last) {
  return [next = std::make_shared<int>(0), last] { return *next < last ? std::optional((*next)++) : std::nullopt; };
}

void work_a_while(int job) { std::this_thread::sleep_for(std::chrono::microseconds(job * 7919 % 300)); }

TEST(OrderedWorkers, ResultsComeInTheOrderOfTheJobs) {
  for (const int threads : {1, 2, 5}) {
    Workers workers(threads, 4, up_to(200), [](int& job) {
      work_a_while(job);
      return std::to_string(job);
    });
    for (int i = 0; i < 200; ++i) EXPECT_EQ(workers.next(0), std::to_string(i));
    EXPECT_EQ(workers.next(0), std::nullopt);
    EXPECT_EQ(workers.next(0), std::nullopt);
  }
}

TEST(OrderedWorkers, StartsNoMoreThanAheadJobs) {
  std::atomic<int> begun{0};
  Workers workers(3, 4, up_to(100), [&](int& job) {
    ++begun;
    return std::to_string(job);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LE(begun, 4);
  for (int i = 1; i <= 20; ++i) {
    ASSERT_TRUE(workers.next(0));
    EXPECT_LE(begun, i + 4);
  }
}

TEST(OrderedWorkers, AnErrorComesAtItsPlace) {
  Workers workers(3, 8, up_to(10), [](int& job) {
    require(job != 4, "job 4 is bad");
    return std::to_string(job);
  });
  for (int i = 0; i < 4; ++i) EXPECT_EQ(workers.next(0), std::to_string(i));
  EXPECT_TRUE(has(error_of([&] { workers.next(0); }), "job 4 is bad"));
  EXPECT_EQ(workers.next(0), "5");
}

TEST(OrderedWorkers, AnErrorOfNextJobIsTheLastResult) {
  const auto next = [count = std::make_shared<int>(0)]() -> std::optional<int> {
    require(*count < 3, "no more jobs");
    return (*count)++;
  };
  Workers workers(2, 8, next, [](int& job) { return std::to_string(job); });
  for (int i = 0; i < 3; ++i) EXPECT_EQ(workers.next(0), std::to_string(i));
  EXPECT_TRUE(has(error_of([&] { workers.next(0); }), "no more jobs"));
  EXPECT_EQ(workers.next(0), std::nullopt);
}

TEST(OrderedWorkers, TimesOut) {
  Workers workers(1, 1, up_to(1), [](int&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    return std::string("late");
  });
  EXPECT_TRUE(has(error_of([&] { workers.next(0.05); }), "no batch within 0.05 seconds (timeout)"));
  EXPECT_EQ(workers.next(0), "late");
}

TEST(OrderedWorkers, CanBeDestroyedAtAnyTime) {
  for (int i = 0; i < 50; ++i) {
    Workers workers(4, 3, up_to(1000), [](int& job) {
      work_a_while(job);
      return std::to_string(job);
    });
    for (int taken = 0; taken < i % 5; ++taken) EXPECT_EQ(workers.next(0), std::to_string(taken));
  }
}

}  // namespace
}  // namespace m2bert::data
