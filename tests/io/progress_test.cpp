#include "m2bert/io/progress.h"

#include <algorithm>
#include <thread>

#include "m2bert/io/log.h"
#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

using test::has;
using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

TEST(Progress, ShowsCountsTimesAndSizes) {
  EXPECT_EQ(show_count(0), "0");
  EXPECT_EQ(show_count(999), "999");
  EXPECT_EQ(show_count(1234567), "1,234,567");
  EXPECT_EQ(show_duration(0.42), "0.4s");
  EXPECT_EQ(show_duration(59.6), "1m00s");
  EXPECT_EQ(show_duration(200), "3m20s");
  EXPECT_EQ(show_duration(3720), "1h02m");
  EXPECT_EQ(show_bytes(999), "999 B");
  EXPECT_EQ(show_bytes(1230), "1.2 kB");
  EXPECT_EQ(show_bytes(4'200'000'000), "4.2 GB");
}

TEST(Progress, ShowsPercentageRateAndTimeLeft) {
  Progress progress("embed", {.total = 100, .terminal = false});
  progress.update(50);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::string text = progress.text();
  EXPECT_TRUE(has(text, "embed: 50 of 100 texts, 50%, "));
  EXPECT_TRUE(has(text, "texts/s, "));
  EXPECT_TRUE(has(text, " left"));
}

TEST(Progress, EstimatesTimeLeftFromBytesRead) {
  Progress progress("embed", {.terminal = false});
  progress.update(10, 0.25);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(has(progress.text(), "25%"));
  EXPECT_TRUE(has(progress.text(), " left"));
}

TEST(Progress, AResumedRunCountsItsOwnRate) {
  Progress progress("embed", {.total = 2000000, .terminal = false}, 1000000);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  progress.update(1000010);
  EXPECT_LT(progress.rate(), 600);
  EXPECT_GT(progress.rate(), 0);
}

TEST(Progress, PlainLinesComeNowAndThen) {
  CaptureStderr();
  {
    Progress progress("embed", {.plain_every = std::chrono::seconds(0), .terminal = false});
    progress.update(1);
    progress.update(2);
    progress.finish();
  }
  const std::string text = GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
  EXPECT_EQ(text.find('\r'), std::string::npos);
}

TEST(Progress, QuietShowsWarningsOnly) {
  CaptureStderr();
  set_quiet(true);
  {
    Progress progress("embed", {.plain_every = std::chrono::seconds(0), .terminal = true});
    progress.update(1);
    progress.finish();
  }
  info("not shown");
  warn("shown ", 7);
  set_quiet(false);
  EXPECT_EQ(GetCapturedStderr(), "warning: shown 7\n");
}

TEST(Log, LevelsAndParts) {
  CaptureStderr();
  info("a ", 1, " {} %s");
  debug("hidden");
  set_log_level(LogLevel::debug);
  debug("seen");
  set_log_level(LogLevel::info);
  EXPECT_EQ(GetCapturedStderr(), "a 1 {} %s\nseen\n");
}

TEST(Log, LinesGoAboveTheBar) {
  CaptureStderr();
  {
    Progress progress("embed", {.terminal = true});
    std::this_thread::sleep_for(std::chrono::milliseconds(120));
    progress.update(5);
    info("note");
  }
  const std::string text = GetCapturedStderr();
  EXPECT_TRUE(has(text, "\rembed: 5 texts"));
  EXPECT_TRUE(has(text, "\r\x1b[Knote\nembed: 5 texts"));
  EXPECT_EQ(text.substr(text.size() - 4), "\r\x1b[K");
}

}  // namespace
}  // namespace m2bert::io
