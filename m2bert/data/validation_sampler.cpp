#include "m2bert/data/validation_sampler.h"

#include <cmath>

#include "m2bert/error.h"
#include "m2bert/random.h"

namespace m2bert::data {
namespace {

__extension__ using Wide = unsigned __int128;

}  // namespace

ValidationSampler ValidationSampler::by_fraction(double fraction, uint64_t seed) {
  require(fraction >= 0 && fraction <= 0.5, "validation fraction ", fraction, ": wants 0 to 0.5");
  ValidationSampler sampler;
  if (fraction > 0) sampler.width_ = 1 / fraction;
  sampler.seed_ = seed;
  return sampler;
}

ValidationSampler ValidationSampler::by_count(uint64_t count, uint64_t total, uint64_t seed) {
  require(count <= total, count, " documents are wanted for validation, and there are ", total);
  ValidationSampler sampler;
  sampler.count_ = count;
  sampler.total_ = total;
  sampler.seed_ = seed;
  return sampler;
}

// The first document of a stratum.
uint64_t ValidationSampler::begin(uint64_t stratum) const {
  if (count_ > 0) return static_cast<uint64_t>(Wide{stratum} * total_ / count_);
  return static_cast<uint64_t>(static_cast<double>(stratum) * width_);
}

bool ValidationSampler::operator()(uint64_t n) const {
  if (count_ == 0 && width_ == 0) return false;
  if (count_ > 0 && n >= total_) return false;
  uint64_t stratum = count_ > 0 ? static_cast<uint64_t>(Wide{n} * count_ / total_) : static_cast<uint64_t>(static_cast<double>(n) / width_);
  while (begin(stratum) > n) --stratum;
  while (begin(stratum + 1) <= n) ++stratum;
  return n == begin(stratum) + Random{seed_, stratum}.below(begin(stratum + 1) - begin(stratum));
}

}  // namespace m2bert::data
