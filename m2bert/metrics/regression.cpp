#include "m2bert/metrics/regression.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "m2bert/error.h"
#include "m2bert/metrics/sum.h"

namespace m2bert::metrics {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

void check_lengths(std::span<const double> x, std::span<const double> y) {
  require(x.size() == y.size(), "[metrics] the vectors have ", x.size(), " and ", y.size(), " values");
}

void check_values(std::span<const double> labels, std::span<const double> predictions) {
  check_lengths(labels, predictions);
  require(!labels.empty(), "[metrics] wants at least one value");
  for (const auto values : {labels, predictions})
    for (const double value : values) require(std::isfinite(value), "[metrics] wants finite values, got ", value);
}

bool is_constant(std::span<const double> values) {
  return std::all_of(values.begin(), values.end(), [&](double value) { return value == values[0]; });
}

// Differences from the mean, divided by their length. NaN if the values are constant or not finite.
std::vector<double> direction(std::span<const double> values) {
  const double mean = compensated_mean(values.size(), [&](size_t i) { return values[i]; });
  std::vector<double> out(values.size(), kNaN);
  if (is_constant(values)) return out;
  double largest = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = values[i] - mean;
    largest = std::max(largest, std::abs(out[i]));
  }
  const double length = std::sqrt(compensated_sum(out.size(), [&](size_t i) { return out[i] / largest * (out[i] / largest); }));
  for (double& value : out) value = value / largest / length;
  return out;
}

}  // namespace

double pearsonr(std::span<const double> x, std::span<const double> y) {
  check_lengths(x, y);
  require(x.size() >= 2, "[pearsonr] wants at least two values, got ", x.size());
  const auto a = direction(x), b = direction(y);
  const double r = compensated_sum(a.size(), [&](size_t i) { return a[i] * b[i]; });
  return std::isnan(r) ? r : std::clamp(r, -1.0, 1.0);
}

std::vector<double> rankdata(std::span<const double> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = static_cast<double>(begin + end + 1) / 2;
    begin = end;
  }
  return ranks;
}

double spearmanr(std::span<const double> x, std::span<const double> y) {
  check_lengths(x, y);
  const auto is_nan = [](double value) { return std::isnan(value); };
  if (x.size() < 2 || std::any_of(x.begin(), x.end(), is_nan) || std::any_of(y.begin(), y.end(), is_nan)) return kNaN;
  return pearsonr(rankdata(x), rankdata(y));
}

double mean_squared_error(std::span<const double> labels, std::span<const double> predictions) {
  check_values(labels, predictions);
  return compensated_mean(labels.size(), [&](size_t i) { return (labels[i] - predictions[i]) * (labels[i] - predictions[i]); });
}

double mean_absolute_error(std::span<const double> labels, std::span<const double> predictions) {
  check_values(labels, predictions);
  return compensated_mean(labels.size(), [&](size_t i) { return std::abs(labels[i] - predictions[i]); });
}

double r2_score(std::span<const double> labels, std::span<const double> predictions) {
  const double error = mean_squared_error(labels, predictions);
  if (labels.size() < 2) return kNaN;
  const double mean = compensated_mean(labels.size(), [&](size_t i) { return labels[i]; });
  const double variance = compensated_mean(labels.size(), [&](size_t i) { return (labels[i] - mean) * (labels[i] - mean); });
  if (is_constant(labels) || variance == 0) return error == 0 ? 1 : 0;  // rounding may move the mean of equal labels
  return 1 - error / variance;
}

}  // namespace m2bert::metrics
