#include "m2bert/data/validation_choice.h"

#include <cmath>

#include "m2bert/data/random.h"
#include "m2bert/error.h"

namespace m2bert::data {
namespace {

__extension__ using Wide = unsigned __int128;

}  // namespace

ValidationChoice ValidationChoice::by_fraction(double fraction, uint64_t seed) {
  require(fraction >= 0 && fraction <= 0.5, "validation fraction ", fraction, ": wants 0 to 0.5");
  ValidationChoice choice;
  if (fraction > 0) choice.width_ = 1 / fraction;
  choice.seed_ = seed;
  return choice;
}

ValidationChoice ValidationChoice::by_count(uint64_t count, uint64_t total, uint64_t seed) {
  require(count <= total, count, " documents are wanted for validation, and there are ", total);
  ValidationChoice choice;
  choice.count_ = count;
  choice.total_ = total;
  choice.seed_ = seed;
  return choice;
}

// The first document of a stretch.
uint64_t ValidationChoice::begin(uint64_t stretch) const {
  if (count_ > 0) return static_cast<uint64_t>(Wide{stretch} * total_ / count_);
  return static_cast<uint64_t>(static_cast<double>(stretch) * width_);
}

bool ValidationChoice::operator()(uint64_t n) const {
  if (count_ == 0 && width_ == 0) return false;
  if (count_ > 0 && n >= total_) return false;
  uint64_t stretch = count_ > 0 ? static_cast<uint64_t>(Wide{n} * count_ / total_) : static_cast<uint64_t>(static_cast<double>(n) / width_);
  while (begin(stretch) > n) --stretch;
  while (begin(stretch + 1) <= n) ++stretch;
  return n == begin(stretch) + Random{seed_, stretch}.below(begin(stretch + 1) - begin(stretch));
}

}  // namespace m2bert::data
