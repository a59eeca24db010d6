#include "m2bert/metrics/clustering.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "m2bert/error.h"

namespace m2bert::metrics {

namespace {

// Of the distribution that has these counts, in nats.
double entropy(const std::map<int32_t, double>& counts, double samples) {
  if (counts.size() == 1) return 0;
  double sum = 0;
  for (const auto& [value, count] : counts) sum -= count / samples * std::log(count / samples);
  return sum;
}

}  // namespace

VMeasure homogeneity_completeness_v_measure(std::span<const int32_t> classes, std::span<const int32_t> clusters) {
  require(classes.size() == clusters.size(), "[v_measure] there are ", classes.size(), " classes for ", clusters.size(), " clusters");
  if (classes.empty()) return {};
  std::map<int32_t, double> in_class, in_cluster;
  std::map<std::pair<int32_t, int32_t>, double> in_both;
  for (size_t i = 0; i < classes.size(); ++i) {
    ++in_class[classes[i]];
    ++in_cluster[clusters[i]];
    ++in_both[{classes[i], clusters[i]}];
  }
  const auto samples = static_cast<double>(classes.size());
  double information = 0;
  for (const auto& [pair, count] : in_both)
    information += count / samples * std::log(count * samples / (in_class[pair.first] * in_cluster[pair.second]));
  information = std::max(information, 0.0);
  const double of_classes = entropy(in_class, samples), of_clusters = entropy(in_cluster, samples);
  const double homogeneity = of_classes == 0 ? 1 : information / of_classes,
               completeness = of_clusters == 0 ? 1 : information / of_clusters;
  const double sum = homogeneity + completeness;
  return {homogeneity, completeness, sum == 0 ? 0 : 2 * homogeneity * completeness / sum};
}

}  // namespace m2bert::metrics
