#include "m2bert/ops/real_fft.h"

#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

TEST(RealFft, SizesAreEvenAndSmooth) {
  for (auto [n, size] : {std::pair{1, 2}, {2, 2}, {3, 4}, {7, 8}, {13, 16}, {14, 16}, {97, 100}, {128, 128}, {194, 200}, {8191, 8192}}) {
    EXPECT_EQ(ops::real_fft_size(n), size) << n;
  }
}

TEST(RealFft, InvertsWithZerosBehind) {
  for (int axis : {0, 1, 2}) {
    for (int n : {2, 6, 10}) {
      mx::Shape shape{2, 2, 2};
      shape[size_t(axis)] = n - 1;
      auto x = random(shape, n);
      auto z = ops::real_fft(x, n, axis, {});
      EXPECT_EQ(z.shape(axis), n / 2 + 1);
      auto back = ops::inverse_real_fft(z, n, axis, {});
      auto parts = mx::split(back, mx::Shape{n - 1}, axis);
      expect_near(parts[0], x, 1e-6);
      EXPECT_LE(mx::max(mx::abs(parts[1])).item<float>(), 1e-6);
    }
  }
}

}  // namespace
}  // namespace m2bert
