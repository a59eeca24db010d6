#pragma once
// How many samples an epoch takes from each of several data sets.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace m2bert::data {

// At most one of the three is set.
struct StreamWeight {
  std::string name;                  // for errors
  std::optional<double> proportion;  // share of the epoch, relative to the others'
  std::optional<double> repeat;      // times that the data set is seen
  std::optional<uint64_t> choose;    // samples
};

// Samples of an epoch from each data set; sizes: how many each has.
// Proportions: of samples_per_epoch, or of as many samples as there are. None set: each sample once, or samples_per_epoch of them in
// proportion to the sizes. Error: proportions beside other weights or only for some; samples_per_epoch beside repeat or choose; negative
// weights; samples wanted from a data set without any; an epoch without samples.
std::vector<uint64_t> samples_to_choose(const std::vector<StreamWeight>& weights, const std::vector<uint64_t>& sizes,
                                        std::optional<uint64_t> samples_per_epoch);

}  // namespace m2bert::data
