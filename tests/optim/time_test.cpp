#include "m2bert/optim/time.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"

namespace m2bert::optim {
namespace {

TEST(Time, ReadsComposersUnits) {
  for (const char* text : {"1000ba", "2ep", "286720000sp", "100tok", "0.06dur"}) EXPECT_EQ(show(parse_time(text, "t")), text);
  EXPECT_EQ(show(parse_time("3", "t")), "3ep");
  EXPECT_EQ(parse_time("1e9tok", "t").value, 1e9);
}

TEST(Time, RefusesWhatIsNoTime) {
  for (const char* text : {"", "ba", "-1ba", "1.5ba", "10 ba", "3x", "nanba", "infba", "1e99ba", "0x5ba"}) {
    try {
      parse_time(text, "run.yaml:3: max_duration");
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_TRUE(std::string(e.what()).starts_with("run.yaml:3: max_duration: \"" + std::string(text) + "\"")) << e.what();
    }
  }
}

TEST(RunLength, SharesAndEpochsBecomeWholeBatchesOrSamples) {
  const RunLength samples{parse_time("286720000sp", "t"), 70000};
  EXPECT_EQ(show(samples.resolve(parse_time("0.06dur", "t"))), "17203200sp");
  const RunLength epochs{parse_time("3ep", "t"), 7};
  EXPECT_EQ(show(epochs.resolve(parse_time("1dur", "t"))), "21ba");
  EXPECT_EQ(show(epochs.resolve(parse_time("0.2dur", "t"))), "4ba");
  EXPECT_EQ(show(epochs.resolve(parse_time("2ep", "t"))), "14ba");
  const RunLength batches{parse_time("30ba", "t"), 0};
  EXPECT_EQ(show(batches.resolve(parse_time("0.2dur", "t"))), "6ba");
}

TEST(RunLength, EndsWhenItsUnitIsFull) {
  const RunLength run{parse_time("100sp", "t"), 0};
  EXPECT_FALSE(run.reached({.batch = 1000, .sample = 99}));
  EXPECT_TRUE(run.reached({.sample = 100}));
  EXPECT_DOUBLE_EQ(run.share({.sample = 25}), 0.25);
}

TEST(Interval, PassesOnceInEach) {
  const RunLength run{parse_time("100ba", "t"), 10};
  auto times = [&](const char* interval) {
    int passed = 0;
    for (int64_t b = 0; b < 100; ++b) {
      const Timestamp before{b, b / 10, 3 * b, 6 * b}, now{b + 1, (b + 1) / 10, 3 * (b + 1), 6 * (b + 1)};
      passed += interval_passed(parse_time(interval, "t"), run, before, now);
    }
    return passed;
  };
  EXPECT_EQ(times("7ba"), 14);
  EXPECT_EQ(times("1ep"), 10);
  EXPECT_EQ(times("2ep"), 5);
  EXPECT_EQ(times("10sp"), 30);
  EXPECT_EQ(times("60tok"), 10);
  EXPECT_EQ(times("0.25dur"), 4);
  EXPECT_EQ(times("0ba"), 0);
}

}  // namespace
}  // namespace m2bert::optim
