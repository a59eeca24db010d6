#pragma once
// Comparison of arrays, and random inputs that do not depend on the run.
#include <gtest/gtest.h>

#include <algorithm>

#include "m2bert/mx.h"

namespace m2bert::testing_ops {

// max |a - b| / max(max |b|, least); the divisor is 1 if that is 0.
inline double relative_error(const mx::array& a, const mx::array& b, double least = 0) {
  auto wide = [](const mx::array& x) { return mx::astype(x, mx::float32); };
  const double scale = std::max(least, double(mx::max(mx::abs(wide(b))).item<float>()));
  return mx::max(mx::abs(wide(a) - wide(b))).item<float>() / (scale > 0 ? scale : 1);
}

inline void expect_near(const mx::array& a, const mx::array& b, double tolerance, double least = 0) {
  ASSERT_EQ(a.shape(), b.shape());
  if (b.size() > 0) {
    EXPECT_LE(relative_error(a, b, least), tolerance);
  }
}

inline mx::array random(const mx::Shape& shape, int seed, mx::Dtype dtype = mx::float32) {
  return mx::astype(mx::random::normal(shape, mx::float32, 0, 1, mx::random::key(uint64_t(seed))), dtype);
}

// The gradients of sum(f(inputs) * cotangent) with respect to every input.
template <class F>
std::vector<mx::array> gradients(const F& f, const std::vector<mx::array>& inputs, const mx::array& cotangent) {
  std::vector<int> all(inputs.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = int(i);
  return mx::grad([&](const std::vector<mx::array>& in) { return mx::sum(mx::astype(f(in), mx::float32) * cotangent); }, all)(inputs);
}

}  // namespace m2bert::testing_ops
