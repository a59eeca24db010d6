#include "m2bert/ops/long_conv.h"

#include "m2bert/error.h"

namespace m2bert::ops {

mx::array long_conv_spectrum(const mx::array& k_ld, const std::optional<mx::array>& k_rev_ld, mx::StreamOrDevice s) {
  require(k_ld.ndim() == 2, "[long_conv_spectrum] k has shape ", k_ld.shape(), ", wants [L, d]");
  const int L = k_ld.shape(0);
  auto k = mx::astype(k_ld, mx::float32, s);
  if (!k_rev_ld) return mx::fft::rfft(k, 2 * L, 0, mx::fft::FFTNorm::Backward, s);
  require(k_rev_ld->shape() == k_ld.shape(), "[long_conv_spectrum] k_rev has shape ", k_rev_ld->shape(), ", k has ", k_ld.shape());
  // Circular of length 2 L: k at 0 .. L-1, k_rev flipped at L .. 2L-1, so that position -1-i holds k_rev[i].
  auto flipped = mx::slice(mx::astype(*k_rev_ld, mx::float32, s), {L - 1, 0}, {-L - 1, k_ld.shape(1)}, {-1, 1}, s);
  return mx::fft::rfft(mx::concatenate({k, flipped}, 0, s), 2 * L, 0, mx::fft::FFTNorm::Backward, s);
}

mx::array long_conv(const mx::array& u_bld, const mx::array& spectrum, const mx::array& D_d, mx::StreamOrDevice s) {
  require(u_bld.ndim() == 3, "[long_conv] u has shape ", u_bld.shape(), ", wants [B, L, d]");
  const int B = u_bld.shape(0), L = u_bld.shape(1), d = u_bld.shape(2);
  require(spectrum.ndim() == 2 && spectrum.shape(0) == L + 1 && spectrum.shape(1) == d, "[long_conv] the spectrum has shape ",
          spectrum.shape(), ", wants [L + 1, d] = [", L + 1, ", ", d, "]");
  require(D_d.size() == size_t(d), "[long_conv] D has ", D_d.size(), " values, wants ", d);
  auto u = mx::astype(u_bld, mx::float32, s);
  auto product = mx::multiply(mx::fft::rfft(u, 2 * L, 1, mx::fft::FFTNorm::Backward, s), spectrum, s);
  auto y = mx::slice(mx::fft::irfft(product, 2 * L, 1, mx::fft::FFTNorm::Backward, s), {0, 0, 0}, {B, L, d}, s);
  y = mx::add(y, mx::multiply(u, mx::astype(mx::reshape(D_d, {d}, s), mx::float32, s), s), s);
  return mx::astype(y, u_bld.dtype(), s);
}

}  // namespace m2bert::ops
