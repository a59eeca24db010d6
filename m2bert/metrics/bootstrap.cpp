#include "m2bert/metrics/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "m2bert/error.h"
#include "m2bert/metrics/sum.h"
#include "m2bert/random.h"

namespace m2bert::metrics {

namespace {

double quantile_of_sorted(const std::vector<double>& sorted, double q) {
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

}  // namespace

Interval bootstrap_interval(size_t samples, const std::function<double(std::span<const size_t>)>& statistic, const Bootstrap& options) {
  require(samples > 0, "[bootstrap] wants at least one sample");
  require(options.confidence > 0 && options.confidence < 1, "[bootstrap] wants a confidence between 0 and 1, got ", options.confidence);
  require(options.resamples >= 1, "[bootstrap] wants at least one resample, got ", options.resamples);
  std::vector<size_t> indices(samples);
  std::vector<double> found;
  for (int i = 0; i < options.resamples; ++i) {
    Random random{options.seed, static_cast<uint64_t>(i)};
    for (size_t& index : indices) index = random.below(samples);
    const double value = statistic(indices);
    if (!std::isnan(value)) found.push_back(value);
  }
  if (found.empty()) return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  std::sort(found.begin(), found.end());
  const double tail = (1 - options.confidence) / 2;
  return {quantile_of_sorted(found, tail), quantile_of_sorted(found, 1 - tail)};
}

Interval bootstrap_interval_of_mean(std::span<const double> values, const Bootstrap& options) {
  const auto mean = [&](std::span<const size_t> indices) {
    return compensated_mean(indices.size(), [&](size_t i) { return values[indices[i]]; });
  };
  return bootstrap_interval(values.size(), mean, options);
}

double quantile(std::vector<double> values, double q) {
  require(!values.empty(), "[quantile] wants at least one value");
  require(q >= 0 && q <= 1, "[quantile] wants q in [0, 1], got ", q);
  std::sort(values.begin(), values.end());
  return quantile_of_sorted(values, q);
}

}  // namespace m2bert::metrics
