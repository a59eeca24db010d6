#include "m2bert/data/mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "m2bert/error.h"

namespace m2bert::data {
namespace {

constexpr double kMaxSamples = 0x1p53;  // a double is exact up to here

void check_number(double value, const char* what, const StreamWeight& weight) {
  require(std::isfinite(value) && value >= 0 && value <= kMaxSamples, weight.name, ": ", what, " ", value,
          ": wants a number of at least 0");
}

void check(const StreamWeight& weight) {
  const int set = int{weight.proportion.has_value()} + int{weight.repeat.has_value()} + int{weight.choose.has_value()};
  require(set <= 1, weight.name, ": has more than one of proportion, repeat and samples; choose one");
  if (weight.proportion) check_number(*weight.proportion, "proportion", weight);
  if (weight.repeat) check_number(*weight.repeat, "repeat", weight);
  if (weight.choose) check_number(static_cast<double>(*weight.choose), "samples", weight);
}

// Divides the total in the given proportions by the largest remainder method.
std::vector<uint64_t> apportion(uint64_t total, const std::vector<double>& proportions) {
  const double sum = std::accumulate(proportions.begin(), proportions.end(), 0.0);
  require(sum > 0, "the proportions of the streams are all 0");
  std::vector<uint64_t> counts;
  std::vector<double> rest;
  uint64_t given = 0;
  for (const double proportion : proportions) {
    const double exact = static_cast<double>(total) * (proportion / sum);
    counts.push_back(std::min(static_cast<uint64_t>(exact), total - given));
    rest.push_back(proportion > 0 ? exact - std::floor(exact) : -1);
    given += counts.back();
  }
  std::vector<size_t> order(proportions.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rest[a] > rest[b]; });
  for (size_t i = 0; given < total; i = (i + 1) % order.size()) {
    if (rest[order[i]] < 0) continue;
    ++counts[order[i]];
    ++given;
  }
  return counts;
}

uint64_t absolute(const StreamWeight& weight, uint64_t size) {
  if (weight.choose) return *weight.choose;
  if (!weight.repeat) return size;
  const double samples = *weight.repeat * static_cast<double>(size);
  require(samples <= kMaxSamples, weight.name, ": repeat ", *weight.repeat, " of ", size, " samples are too many");
  return static_cast<uint64_t>(samples);
}

}  // namespace

std::vector<uint64_t> samples_to_choose(const std::vector<StreamWeight>& weights, const std::vector<uint64_t>& sizes,
                                        std::optional<uint64_t> samples_per_epoch) {
  require(!weights.empty() && weights.size() == sizes.size(), "the data needs at least one stream");
  for (const StreamWeight& weight : weights) check(weight);
  const auto count = [&](auto has) { return static_cast<size_t>(std::count_if(weights.begin(), weights.end(), has)); };
  const size_t relative = count([](const StreamWeight& w) { return w.proportion.has_value(); });
  const size_t unset = count([](const StreamWeight& w) { return !w.proportion && !w.repeat && !w.choose; });
  require(relative == 0 || relative == weights.size(), "proportion is set for ", relative, " of ", weights.size(),
          " streams; set it for all of them, or use repeat or samples");
  require(!samples_per_epoch || relative > 0 || unset == weights.size(),
          "samples_per_epoch goes with proportion; with repeat or samples the streams say themselves how long an epoch is");
  const uint64_t all = std::accumulate(sizes.begin(), sizes.end(), uint64_t{0});
  std::vector<uint64_t> chosen;
  if (relative > 0) {
    std::vector<double> proportions;
    proportions.reserve(weights.size());
    for (const StreamWeight& weight : weights) proportions.push_back(*weight.proportion);
    chosen = apportion(samples_per_epoch.value_or(all), proportions);
  } else if (samples_per_epoch) {
    require(all > 0, "the data has no samples");
    chosen = apportion(*samples_per_epoch, {sizes.begin(), sizes.end()});
  } else {
    for (size_t i = 0; i < weights.size(); ++i) chosen.push_back(absolute(weights[i], sizes[i]));
  }
  for (size_t i = 0; i < weights.size(); ++i)
    require(chosen[i] == 0 || sizes[i] > 0, weights[i].name, ": has no samples, and ", chosen[i], " are wanted");
  require(std::accumulate(chosen.begin(), chosen.end(), uint64_t{0}) > 0, "the data has no samples");
  return chosen;
}

}  // namespace m2bert::data
