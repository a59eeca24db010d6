#pragma once
// Random initial values, each drawn with its own key.
#include <string>

#include "m2bert/mx.h"

namespace m2bert::nn {

// Independent keys from one seed.
class KeySequence {
 public:
  explicit KeySequence(uint64_t seed) : key_(mx::random::key(seed)) {}
  mx::array next();

 private:
  mx::array key_;
};

mx::array normal(const mx::Shape& shape, float deviation, KeySequence& keys);

// Uniform in [-bound, bound].
mx::array uniform(const mx::Shape& shape, float bound, KeySequence& keys);

}  // namespace m2bert::nn
