#pragma once
// How many samples of an epoch come from each of several data sets.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace m2bert::data {

// At most one of the three is set.
struct StreamWeight {
  std::string name;                  // for errors
  std::optional<double> proportion;  // share of the epoch, relative to the others'
  std::optional<double> repeat;      // passes over the data set
  std::optional<uint64_t> choose;    // samples
};

// Samples per epoch of each data set. sizes: the samples that each data set has.
// Proportions divide samples_per_epoch, or the total number of samples. Without weights every sample is seen once, or samples_per_epoch are
// divided in proportion to the sizes. Throws if proportions are mixed with other weights or set for some data sets only, if
// samples_per_epoch is combined with repeat or choose, for negative weights, for samples from an empty data set, and for an empty epoch.
std::vector<uint64_t> samples_to_choose(const std::vector<StreamWeight>& weights, const std::vector<uint64_t>& sizes,
                                        std::optional<uint64_t> samples_per_epoch);

}  // namespace m2bert::data
