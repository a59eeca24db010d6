#pragma once
// Confidence intervals by the percentile bootstrap (Efron, 1979): the statistic of samples drawn with replacement, many times.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace m2bert::metrics {

struct Interval {
  double low = 0, high = 0;
};

struct Bootstrap {
  double confidence = 0.95;  // in (0, 1)
  int resamples = 1000;      // at least 1
  uint64_t seed = 0;         // the same seed gives the same interval, on every machine
};

// The interval of statistic(indices), which gets as many indices as there are samples, each from 0 to samples - 1. Resamples whose
// statistic is NaN (a correlation of a constant vector) are left out; NaN if none remain. Throws Error without samples.
Interval bootstrap_interval(size_t samples, const std::function<double(std::span<const size_t>)>& statistic, const Bootstrap& options = {});
// The interval of the mean of these values, such as the nDCG of each query.
Interval bootstrap_interval_of_mean(std::span<const double> values, const Bootstrap& options = {});

// The q-quantile, q in [0, 1], with linear interpolation as numpy.quantile. Throws Error without values.
double quantile(std::vector<double> values, double q);

}  // namespace m2bert::metrics
