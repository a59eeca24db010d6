#pragma once
// A random number generator (SplitMix64) whose numbers depend on its key only: they are the same on every machine and in every thread. Not
// for cryptography.
#include <cstdint>
#include <initializer_list>
#include <utility>

namespace m2bert {

class Random {
 public:
  explicit Random(std::initializer_list<uint64_t> key) {
    for (const uint64_t part : key) state_ = mixed(state_ ^ mixed(part + kStep));
  }

  uint64_t next() { return mixed(state_ += kStep); }
  // Uniform in 0 to n - 1. n > 0.
  uint64_t below(uint64_t n) {
    const uint64_t fair = UINT64_MAX - UINT64_MAX % n;
    uint64_t value = next();
    while (value >= fair) value = next();
    return value % n;
  }
  // Uniform in [0, 1).
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  static constexpr uint64_t kStep = 0x9E3779B97F4A7C15;
  static uint64_t mixed(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return x ^ (x >> 31);
  }
  uint64_t state_ = 0;
};

// A uniformly random permutation (Fisher-Yates).
template <class Values>
void shuffle(Values& values, Random& random) {
  for (uint64_t left = values.size(); left > 1; --left) {
    const uint64_t other = random.below(left);
    using std::swap;
    swap(values[left - 1], values[other]);
  }
}

}  // namespace m2bert
