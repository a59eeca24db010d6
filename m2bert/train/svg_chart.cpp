#include "m2bert/train/svg_chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "m2bert/io/html_page.h"
#include "m2bert/io/number_text.h"

namespace m2bert::train {

namespace {

constexpr double kWidth = 640, kHeight = 320, kLeft = 70, kRight = 14, kTop = 34, kBottom = 44;

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  void take(double x) {
    low = std::min(low, x);
    high = std::max(high, x);
  }
  // A line needs some width.
  void widen() {
    const double size = std::max(std::abs(low), std::abs(high));
    if (high - low > 1e-9 * size) return;
    const double margin = size < 1e-300 ? 1 : size * 0.05;
    low -= margin;
    high += margin;
  }
};

std::string fixed(double value) { return io::fixed_text(value, 1); }

// Maps values to places in the picture.
struct Frame {
  Range x, y;
  double across(double value) const { return kLeft + (value - x.low) / (x.high - x.low) * (kWidth - kLeft - kRight); }
  double up(double value) const { return kHeight - kBottom - (value - y.low) / (y.high - y.low) * (kHeight - kTop - kBottom); }
};

Frame frame_of(const Chart& chart) {
  Frame frame;
  for (const auto& curve : chart.curves) {
    for (const auto& [x, y] : curve.points) {
      frame.x.take(x);
      frame.y.take(y);
    }
  }
  frame.x.widen();
  frame.y.widen();
  return frame;
}

std::string label(double x, double y, const char* anchor, const std::string& text) {
  return "<text x=\"" + fixed(x) + "\" y=\"" + fixed(y) + "\" text-anchor=\"" + anchor + "\">" + io::html_text(text) + "</text>";
}

std::string axes(const Chart& chart, const Frame& frame) {
  std::string out;
  for (const double tick : round_ticks(frame.y.low, frame.y.high, 5)) {
    const std::string y = fixed(frame.up(tick));
    out += "<line class=\"grid\" x1=\"" + fixed(kLeft) + "\" x2=\"" + fixed(kWidth - kRight) + "\" y1=\"" + y + "\" y2=\"" + y + "\"/>";
    out += label(kLeft - 8, frame.up(tick) + 4, "end", short_number(tick));
  }
  for (const double tick : round_ticks(frame.x.low, frame.x.high, 6)) {
    out += label(frame.across(tick), kHeight - kBottom + 18, "middle", short_number(tick));
  }
  out += label(kWidth - kRight, kHeight - 6, "end", chart.x_label);
  return out;
}

std::string line(const Curve& curve, const Frame& frame) {
  std::string points;
  for (const auto& [x, y] : curve.points) points += (points.empty() ? "" : " ") + fixed(frame.across(x)) + "," + fixed(frame.up(y));
  const std::string name = "<title>" + io::html_text(curve.name) + "</title>";
  if (curve.points.size() == 1) {
    const auto& [x, y] = curve.points[0];
    return "<circle fill=\"" + curve.colour + "\" r=\"3\" cx=\"" + fixed(frame.across(x)) + "\" cy=\"" + fixed(frame.up(y)) + "\">" + name +
           "</circle>";
  }
  return "<polyline stroke=\"" + curve.colour + "\" points=\"" + points + "\">" + name + "</polyline>";
}

}  // namespace

std::string short_number(double value) {
  char text[48];
  const double size = std::abs(value);
  if (value == std::floor(value) && size < 1e6) std::snprintf(text, sizeof text, "%.0f", value);
  else std::snprintf(text, sizeof text, size >= 1e6 || (size < 1e-3 && size > 0) ? "%.3g" : "%.4g", value);
  return text;
}

std::vector<double> round_ticks(double low, double high, int count) {
  const double rough = (high - low) / count, power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double nice : {5.0, 2.0, 1.0}) {
    if (nice * power >= rough) step = nice * power;
  }
  std::vector<double> ticks;
  const double first = std::ceil(low / step);
  for (int i = 0; i <= 2 * count && (first + i) * step <= high + 1e-9 * step; ++i) ticks.push_back(first + i == 0 ? 0 : (first + i) * step);
  return ticks;
}

std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& points, size_t most) {
  if (points.size() <= most || most < 2) return points;
  std::vector<std::pair<double, double>> out;
  const size_t stretches = most / 2;
  for (size_t i = 0; i < stretches; ++i) {
    const auto begin = points.begin() + std::ptrdiff_t(i * points.size() / stretches);
    const auto end = points.begin() + std::ptrdiff_t((i + 1) * points.size() / stretches);
    auto [low, high] = std::minmax_element(begin, end, [](const auto& a, const auto& b) { return a.second < b.second; });
    if (high < low) std::swap(low, high);
    out.push_back(*low);
    if (high != low) out.push_back(*high);
  }
  return out;
}

std::string svg_chart(const Chart& chart) {
  const Frame frame = frame_of(chart);
  std::string out = "<svg viewBox=\"0 0 640 320\" role=\"img\" aria-label=\"" + io::html_text(chart.title) + "\">";
  out += "<text class=\"title\" x=\"" + fixed(kLeft) + "\" y=\"18\">" + io::html_text(chart.title) + "</text>";
  out += axes(chart, frame);
  for (const auto& curve : chart.curves) {
    if (!curve.points.empty()) out += line(curve, frame);
  }
  return out + "</svg>\n";
}

}  // namespace m2bert::train
