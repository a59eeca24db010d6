#include "m2bert/infer/read_ahead.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>

namespace m2bert::infer {
namespace {

std::function<std::optional<int>()> counting_to(int end) {
  return [i = 0, end]() mutable { return i < end ? std::optional(i++) : std::nullopt; };
}

TEST(ReadAhead, GivesEveryValueInOrder) {
  ReadAhead<int> values(counting_to(1000), 3);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(values.next(), i);
  EXPECT_FALSE(values.next());
  EXPECT_FALSE(values.next());
}

TEST(ReadAhead, StaysWithinItsCapacity) {
  auto made = std::make_shared<std::atomic<int>>(0);
  ReadAhead<int> values([made] { return std::optional(++*made); }, 2);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LE(made->load(), 3);
  EXPECT_EQ(values.next(), 1);
}

TEST(ReadAhead, SaysWhetherAValueIsThere) {
  std::promise<void> asked;
  ReadAhead<int> values(
      [&asked, i = 0]() mutable -> std::optional<int> {
        if (i == 1) asked.get_future().wait();
        return i < 2 ? std::optional(i++) : std::nullopt;
      },
      1);
  while (!values.has_next()) std::this_thread::yield();
  EXPECT_EQ(values.next(), 0);
  EXPECT_FALSE(values.has_next());
  asked.set_value();
  EXPECT_EQ(values.next(), 1);
  EXPECT_FALSE(values.next());
  EXPECT_FALSE(values.has_next());
}

TEST(ReadAhead, ErrorsComeAfterTheValuesBeforeThem) {
  ReadAhead<int> values(
      [i = 0]() mutable -> std::optional<int> { return i < 2 ? std::optional(i++) : throw std::runtime_error("bad line"); }, 8);
  EXPECT_EQ(values.next(), 0);
  EXPECT_EQ(values.next(), 1);
  EXPECT_THROW(values.next(), std::runtime_error);
}

TEST(ReadAhead, GivesUpWaitingWhenAsked) {
  ReadAhead<int> values(
      []() -> std::optional<int> {
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        return std::nullopt;
      },
      1);
  EXPECT_FALSE(values.next([] { return true; }));
}

}  // namespace
}  // namespace m2bert::infer
