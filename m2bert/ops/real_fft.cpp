#include "m2bert/ops/real_fft.h"

namespace m2bert::ops {

int real_fft_size(int n) {
  for (int half = (n + 1) / 2;; ++half) {
    int rest = half;
    for (int factor : {2, 3, 5}) {
      while (rest % factor == 0) rest /= factor;
    }
    if (rest == 1) return 2 * half;
  }
}

mx::array real_fft(const mx::array& x, int n, int axis, mx::StreamOrDevice s) {
  // Padded here, because the transform's own padding ignores the stream.
  auto padded = mx::pad(x, std::vector<int>{axis}, mx::Shape{0}, mx::Shape{n - x.shape(axis)}, mx::array(0.0f), "constant", s);
  return mx::fft::rfft(padded, n, axis, mx::fft::FFTNorm::Backward, s);
}

mx::array inverse_real_fft(const mx::array& z, int n, int axis, mx::StreamOrDevice s) {
  return mx::fft::irfft(z, n, axis, mx::fft::FFTNorm::Backward, s);
}

}  // namespace m2bert::ops
