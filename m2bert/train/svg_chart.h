#pragma once
// A line chart as SVG.
#include <string>
#include <utility>
#include <vector>

namespace m2bert::train {

struct Curve {
  std::string name;
  std::string colour;                             // CSS
  std::vector<std::pair<double, double>> points;  // absolute values below 1e300, x ascending
};

struct Chart {
  std::string title, x_label;
  std::vector<Curve> curves;  // at least one with a point
};

std::string svg_chart(const Chart& chart);

// About `count` round numbers from low to high: 0, 20, 40, ...
std::vector<double> round_ticks(double low, double high, int count);

// At most `most` points: the lowest and highest of each interval, in order.
std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& points, size_t most);

// A number in short form: "1,200", "0.034", "3.2e-05".
std::string short_number(double value);

}  // namespace m2bert::train
