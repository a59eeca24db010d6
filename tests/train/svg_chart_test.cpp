#include "m2bert/train/svg_chart.h"

#include <gtest/gtest.h>

#include <cmath>

namespace m2bert::train {
namespace {

TEST(SvgChart, TicksAreRound) {
  EXPECT_EQ(round_ticks(0, 100, 5), (std::vector<double>{0, 20, 40, 60, 80, 100}));
  EXPECT_EQ(round_ticks(2.7, 7.1, 5), (std::vector<double>{3, 4, 5, 6, 7}));
  EXPECT_EQ(round_ticks(-1, 1, 4), (std::vector<double>{-1, -0.5, 0, 0.5, 1}));
  for (const double high : {1e-9, 3e-4, 7.0, 1e12}) {
    const auto ticks = round_ticks(0, high, 5);
    EXPECT_GE(ticks.size(), 3U);
    EXPECT_LE(ticks.size(), 7U);
  }
}

TEST(SvgChart, ThinningKeepsLowestAndHighest) {
  std::vector<std::pair<double, double>> points;
  for (int i = 0; i < 10000; ++i) points.emplace_back(i, std::sin(i * 0.01));
  points[5000].second = 99;
  points[7001].second = -99;
  const auto fewer = thinned(points, 200);
  EXPECT_LE(fewer.size(), 200U);
  EXPECT_TRUE(std::ranges::find(fewer, points[5000]) != fewer.end());
  EXPECT_TRUE(std::ranges::find(fewer, points[7001]) != fewer.end());
  EXPECT_TRUE(std::ranges::is_sorted(fewer));
  EXPECT_EQ(thinned(fewer, 1000).size(), fewer.size());
}

TEST(SvgChart, DrawsConstantsAndSinglePoints) {
  for (const auto& points : {std::vector<std::pair<double, double>>{{1, 5}, {2, 5}},
                             {{3, 0}},
                             {{0, -2}, {0, -2}},
                             {{1, 1e15}, {2, 1e15 + 0.125}},
                             {{1, 1e-320}, {2, 3e-320}},
                             {{1, -1e299}, {2, 1e299}}}) {
    const auto svg = svg_chart({"t", "x", {{"run", "red", points}}});
    EXPECT_EQ(svg.find("nan"), std::string::npos);
    EXPECT_EQ(svg.find("inf"), std::string::npos);
  }
}

TEST(SvgChart, NumbersAreShort) {
  EXPECT_EQ(short_number(1200), "1200");
  EXPECT_EQ(short_number(0.0345), "0.0345");
  EXPECT_EQ(short_number(3.2e-5), "3.2e-05");
  EXPECT_EQ(short_number(286720000), "2.87e+08");
  EXPECT_EQ(short_number(0), "0");
}

}  // namespace
}  // namespace m2bert::train
