#pragma once
// What the transforms of fft_simd.h need to know beforehand: lengths and roots of unity. Host memory only, no MLX.
#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <numbers>
#include <vector>

namespace m2bert::ops::cpu {

// Channels are worked on in blocks of this many; their number is a multiple of it.
inline constexpr int kChannelBlock = 16;

// Length of the transform for texts of L tokens: the power of two from 2 L up, at least 4.
inline int transform_length(int L) { return int(std::bit_ceil(std::max(4u, 2 * unsigned(L)))); }

// For each step of size m = n, n/2, ..., 4: w^j, w^2j, w^3j for j < m/4, w = exp(-2 pi i / m); six floats a j.
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

// Made once a length, a power of two.
inline const Twiddles& twiddles(int n) {
  static std::mutex mutex;
  static std::map<int, std::unique_ptr<Twiddles>> made;
  std::lock_guard lock(mutex);
  auto& entry = made[n];
  if (!entry) entry = std::make_unique<Twiddles>(size_t(n));
  return *entry;
}

}  // namespace m2bert::ops::cpu
