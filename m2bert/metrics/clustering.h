#pragma once
// Metrics of a clustering against known classes, equal to those of the same names in scikit-learn. Classes and clusters may be any numbers.
#include <cstdint>
#include <span>

namespace m2bert::metrics {

struct VMeasure {
  double homogeneity = 1;   // 1 if each cluster has samples of one class only; also 1 if there is only one class
  double completeness = 1;  // 1 if all samples of a class are in one cluster; also 1 if there is only one cluster
  double v_measure = 1;     // their harmonic mean; it equals scikit-learn's normalized_mutual_info_score. 0 if both are 0
};

// All 1 without samples. Throws Error on lengths that differ.
VMeasure homogeneity_completeness_v_measure(std::span<const int32_t> classes, std::span<const int32_t> clusters);

}  // namespace m2bert::metrics
