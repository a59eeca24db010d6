#include "m2bert/data/mixture.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using Counts = std::vector<uint64_t>;
using test::error_of;
using test::has;

StreamWeight proportion(double p) { return {.name = "s", .proportion = p}; }
StreamWeight repeat(double r) { return {.name = "s", .repeat = r}; }
StreamWeight choose(uint64_t n) { return {.name = "s", .choose = n}; }

TEST(Mixture, EachSampleOnceByDefault) {
  EXPECT_EQ(samples_to_choose({{"a"}, {"b"}}, {10, 5}, std::nullopt), (Counts{10, 5}));
  EXPECT_EQ(samples_to_choose({{"a"}, repeat(2.5)}, {10, 5}, std::nullopt), (Counts{10, 12}));
  EXPECT_EQ(samples_to_choose({choose(3), repeat(0)}, {10, 5}, std::nullopt), (Counts{3, 0}));
  EXPECT_EQ(samples_to_choose({{"a"}, {"b"}}, {10, 5}, 30), (Counts{20, 10}));
}

TEST(Mixture, ProportionsOfTheEpoch) {
  EXPECT_EQ(samples_to_choose({proportion(1), proportion(3)}, {10, 10}, std::nullopt), (Counts{5, 15}));
  EXPECT_EQ(samples_to_choose({proportion(0.1), proportion(0.9)}, {10, 10}, 1000), (Counts{100, 900}));
  EXPECT_EQ(samples_to_choose({proportion(0), proportion(1)}, {0, 10}, 7), (Counts{0, 7}));
  for (uint64_t total = 1; total < 200; ++total) {
    const Counts counts = samples_to_choose({proportion(0.3), proportion(0.3), proportion(0.4), proportion(0)}, {5, 5, 5, 5}, total);
    EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), uint64_t{0}), total);
    EXPECT_EQ(counts[3], 0u);
    for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(static_cast<double>(counts[i]), static_cast<double>(total) * (i < 2 ? 0.3 : 0.4), 1);
  }
}

TEST(Mixture, Problems) {
  StreamWeight both = proportion(1);
  both.repeat = 1;
  EXPECT_TRUE(has(error_of([&] { samples_to_choose({both}, {1}, {}); }), "s: has more than one of"));
  EXPECT_TRUE(has(error_of([] { samples_to_choose({proportion(1), {"b"}}, {1, 1}, {}); }), "set for 1 of 2 streams"));
  EXPECT_TRUE(has(error_of([] { samples_to_choose({repeat(1)}, {1}, 5); }), "samples_per_epoch goes with proportion"));
  EXPECT_TRUE(has(error_of([] { samples_to_choose({repeat(-1)}, {1}, {}); }), "repeat -1"));
  EXPECT_TRUE(has(error_of([] { samples_to_choose({repeat(1e300)}, {1}, {}); }), "repeat"));
  EXPECT_TRUE(has(error_of([] { samples_to_choose({proportion(std::numeric_limits<double>::quiet_NaN())}, {1}, {}); }), "proportion"));
  EXPECT_TRUE(has(error_of([] { samples_to_choose({proportion(0), proportion(0)}, {1, 1}, {}); }), "all 0"));
  EXPECT_TRUE(has(error_of([] { samples_to_choose({choose(1)}, {0}, {}); }), "s: has no samples"));
  EXPECT_TRUE(has(error_of([] { samples_to_choose({{"a"}}, {0}, {}); }), "no samples"));
  EXPECT_TRUE(has(error_of([] { samples_to_choose({{"a"}}, {0}, 5); }), "no samples"));
  EXPECT_TRUE(has(error_of([] { samples_to_choose({}, {}, {}); }), "at least one stream"));
}

}  // namespace
}  // namespace m2bert::data
