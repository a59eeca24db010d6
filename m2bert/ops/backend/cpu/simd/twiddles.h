#pragma once
// Lengths and roots of unity (twiddle factors) of the FFT in fft_inl.h.
#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <numbers>
#include <vector>

namespace m2bert::ops::cpu {

// Kernels work on blocks of this many channels, so the number of channels is a multiple of it.
inline constexpr int kChannelBlock = 16;

// The FFT length for sequences of L tokens: the first power of two that is at least 2 L and 4, so that a convolution does not wrap around.
inline int fft_length(int L) { return int(std::bit_ceil(std::max(4u, 2 * unsigned(L)))); }

// For each step size m = n, n/2, ..., 4: w^j, w^2j, w^3j for j < m/4, w = exp(-2 pi i / m), as six floats for each j. Immutable.
class Twiddles {
 public:
  explicit Twiddles(size_t length) : n(length) {
    for (size_t m = n; m >= 4; m /= 2) {
      auto& table = tables_[m];
      for (size_t j = 0; j < m / 4; ++j) {
        for (size_t power = 1; power <= 3; ++power) {
          const double angle = -2 * std::numbers::pi * double(power * j) / double(m);
          table.push_back(float(std::cos(angle)));
          table.push_back(float(std::sin(angle)));
        }
      }
    }
    for (auto& [m, table] : tables_) by_log_[std::countr_zero(m)] = table.data();
  }

  const float* of(size_t m) const { return by_log_[std::countr_zero(m)]; }

  const size_t n;

 private:
  std::map<size_t, std::vector<float>> tables_;
  const float* by_log_[64] = {};
};

// The twiddle factors for FFT length n, a power of two; computed once and cached. Thread-safe.
inline const Twiddles& twiddles(int n) {
  static std::mutex mutex;
  static std::map<int, std::unique_ptr<Twiddles>> cache;
  std::lock_guard lock(mutex);
  auto& entry = cache[n];
  if (!entry) entry = std::make_unique<Twiddles>(size_t(n));
  return *entry;
}

}  // namespace m2bert::ops::cpu
