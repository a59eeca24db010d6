#include "m2bert/ops/long_conv.h"

#include "m2bert/error.h"
#include "m2bert/ops/activation.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/dtype.h"
#include "m2bert/ops/real_fft.h"

namespace m2bert::ops {

namespace {

// The length of a transform for L positions and as many zeros.
int transform_size(int L) { return real_fft_size(2 * L); }

void check_filter(const char* op, const mx::array& k, const std::optional<mx::array>& k_rev) {
  require(k.ndim() == 2 && k.shape(0) >= 1, "[", op, "] k has shape ", k.shape(), ", wants [L, d] with L >= 1");
  require_float(op, "k", k);
  if (!k_rev) return;
  require(k_rev->shape() == k.shape(), "[", op, "] k_rev has shape ", k_rev->shape(), ", k has ", k.shape());
  require_float(op, "k_rev", *k_rev);
}

void check_input(const char* op, const mx::array& u, const mx::array& D, const LongConvOptions& options) {
  require(u.ndim() == 3 && u.shape(1) >= 1, "[", op, "] u has shape ", u.shape(), ", wants [B, L, d] with L >= 1");
  require_float(op, "u", u);
  require(D.size() == size_t(u.shape(2)), "[", op, "] D has ", D.size(), " values, wants ", u.shape(2));
  require_float(op, "D", D);
  if (!options.dropout_mask) return;
  const auto& mask = *options.dropout_mask;
  require(mask.shape() == mx::Shape({u.shape(0), u.shape(2)}), "[", op, "] dropout_mask has shape ", mask.shape(), ", wants [B, d] = [",
          u.shape(0), ", ", u.shape(2), "]");
  require_float(op, "dropout_mask", mask);
}

void check(const char* op, const mx::array& u, const mx::array& k, const std::optional<mx::array>& k_rev, const mx::array& D,
           const LongConvOptions& options) {
  check_input(op, u, D, options);
  check_filter(op, k, k_rev);
  require(k.shape(0) == u.shape(1) && k.shape(1) == u.shape(2), "[", op, "] k has shape ", k.shape(), ", wants [L, d] = [", u.shape(1),
          ", ", u.shape(2), "]");
}

// The skip term and the options, in float32.
mx::array finish(const mx::array& conv, const mx::array& u, const mx::array& D, const LongConvOptions& options, mx::StreamOrDevice s) {
  auto skip = mx::astype(mx::reshape(D, {u.shape(2)}, s), mx::float32, s);
  auto y = mx::add(conv, mx::multiply(u, skip, s), s);
  if (options.gelu) y = gelu_fallback(y, s);
  if (!options.dropout_mask) return y;
  return mx::multiply(y, mx::expand_dims(mx::astype(*options.dropout_mask, mx::float32, s), 1, s), s);
}

}  // namespace

int spectrum_rows(int L) {
  require(L >= 1 && L <= (1 << 28), "[spectrum_rows] L is ", L, ", wants 1 to 2^28");
  return transform_size(L) / 2 + 1;
}

mx::array long_conv_spectrum(const mx::array& k_ld, const std::optional<mx::array>& k_rev_ld, mx::StreamOrDevice s) {
  check_filter("long_conv_spectrum", k_ld, k_rev_ld);
  const int L = k_ld.shape(0), d = k_ld.shape(1), n = transform_size(L);
  auto k = mx::astype(k_ld, mx::float32, s);
  if (!k_rev_ld) return real_fft(k, n, 0, s);
  // Circular: k at 0 .. L-1, k_rev flipped at n-L .. n-1, so that position -1-i holds k_rev[i].
  auto flipped = mx::slice(mx::astype(*k_rev_ld, mx::float32, s), {L - 1, 0}, {-L - 1, d}, {-1, 1}, s);
  return real_fft(mx::concatenate({k, mx::zeros({n - 2 * L, d}, mx::float32, s), flipped}, 0, s), n, 0, s);
}

mx::array long_conv_with_spectrum(const mx::array& u_bld, const mx::array& spectrum, const mx::array& D_d, const LongConvOptions& options,
                                  mx::StreamOrDevice s) {
  check_input("long_conv_with_spectrum", u_bld, D_d, options);
  const int B = u_bld.shape(0), L = u_bld.shape(1), d = u_bld.shape(2), n = transform_size(L);
  require(spectrum.shape() == mx::Shape({n / 2 + 1, d}), "[long_conv_with_spectrum] the spectrum has shape ", spectrum.shape(),
          ", wants [spectrum_rows(", L, "), d] = [", n / 2 + 1, ", ", d, "]");
  require(spectrum.dtype() == mx::complex64, "[long_conv_with_spectrum] the spectrum has dtype ", spectrum.dtype(), ", wants complex64");
  if (u_bld.size() == 0) return u_bld;  // an empty FFT is an error on GPUs
  auto u = mx::astype(u_bld, mx::float32, s);
  auto filtered = mx::multiply(real_fft(u, n, 1, s), spectrum, s);
  auto conv = mx::slice(inverse_real_fft(filtered, n, 1, s), {0, 0, 0}, {B, L, d}, s);
  return mx::astype(finish(conv, u, D_d, options, s), u_bld.dtype(), s);
}

mx::array long_conv_fallback(const mx::array& u_bld, const mx::array& k_ld, const std::optional<mx::array>& k_rev_ld, const mx::array& D_d,
                             const LongConvOptions& options, mx::StreamOrDevice s) {
  check("long_conv", u_bld, k_ld, k_rev_ld, D_d, options);
  if (u_bld.size() == 0) return u_bld;
  return long_conv_with_spectrum(u_bld, long_conv_spectrum(k_ld, k_rev_ld, s), D_d, options, s);
}

mx::array long_conv(const mx::array& u_bld, const mx::array& k_ld, const std::optional<mx::array>& k_rev_ld, const mx::array& D_d,
                    const LongConvOptions& options, mx::StreamOrDevice s) {
  check("long_conv", u_bld, k_ld, k_rev_ld, D_d, options);
  const auto conv = backend_for(s).long_conv(u_bld, k_ld, k_rev_ld, D_d, mx::to_stream(s));
  if (!conv) return long_conv_fallback(u_bld, k_ld, k_rev_ld, D_d, options, s);
  const auto y = options.gelu ? gelu(*conv, s) : *conv;
  if (!options.dropout_mask) return y;
  return mx::multiply(y, mx::expand_dims(mx::astype(*options.dropout_mask, y.dtype(), s), 1, s), s);
}

LongFilter with_reverse_from_zero(const mx::array& k_ld, const mx::array& r_ld, mx::StreamOrDevice s) {
  check_filter("with_reverse_from_zero", k_ld, r_ld);
  const int L = k_ld.shape(0), d = k_ld.shape(1);
  auto zeros = [&](int rows) { return mx::zeros({rows, d}, r_ld.dtype(), s); };
  auto first = mx::slice(r_ld, {0, 0}, {1, d}, s), rest = mx::slice(r_ld, {1, 0}, {L, d}, s);
  return {mx::add(k_ld, mx::concatenate({first, zeros(L - 1)}, 0, s), s), mx::concatenate({rest, zeros(1)}, 0, s)};
}

}  // namespace m2bert::ops
