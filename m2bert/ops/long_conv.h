#pragma once
// Convolution along the sequence with a filter as long as the sequence, by FFT: O(L log L) instead of O(L^2).
// Source: Monarch Mixer (Fu et al. 2023), section 4; upstream's HyenaFilter and fftconv_ref.
//
// Layouts: b batch, l position, d channel. A filter is [L, d]: one value per position and channel.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// Optional steps after the convolution, in this order.
struct LongConvOptions {
  bool gelu = false;                      // gelu with the exact error function
  std::optional<mx::array> dropout_mask;  // [B, d], multiplies every position; zeros and 1 / (1 - p) for dropout
};

// y = gelu(conv(u; k, k_rev) + D u) * dropout_mask
//   u_bld     [B, L, d]; any L >= 1
//   k_ld      [L, d], weights of the current and earlier positions:  conv[t] += sum_{s<=t} k[t-s] u[s]
//   k_rev_ld  [L, d], weights of later positions:             conv[t] += sum_{s>t}  k_rev[s-t-1] u[s]
//             (k_rev[L-1] is unused). Absent: a causal convolution.
//   D_d       [d], the skip term
// Each is float32, float16 or bfloat16; the result has u's dtype, the arithmetic is float32. Gradients for u, k, k_rev, D and the mask.
// Throws Error on wrong shapes or dtypes.
mx::array long_conv(const mx::array& u_bld, const mx::array& k_ld, const std::optional<mx::array>& k_rev_ld, const mx::array& D_d,
                    const LongConvOptions& options = {}, mx::StreamOrDevice s = {});
mx::array long_conv_fallback(const mx::array& u_bld, const mx::array& k_ld, const std::optional<mx::array>& k_rev_ld, const mx::array& D_d,
                             const LongConvOptions& options = {}, mx::StreamOrDevice s = {});

// The spectrum of a filter, [spectrum_rows(L), d] complex64, differentiable; k_ld and k_rev_ld as above.
// Depends only on the filter, so inference computes it once.
mx::array long_conv_spectrum(const mx::array& k_ld, const std::optional<mx::array>& k_rev_ld, mx::StreamOrDevice s = {});

// The number of rows of a spectrum. The convolution is linear, so its transforms may be longer than 2 L. They have length 2 m, where m is
// the smallest number >= L without a prime factor above 5 (fast and exact on every device, even for a prime L). The spectrum is the first
// half, m + 1 rows. For L = 2^a 3^b 5^c: L + 1.
int spectrum_rows(int L);

// long_conv with a spectrum that long_conv_spectrum made for the same L. Throws Error unless it has spectrum_rows(L) rows.
// Gradients for u, the spectrum, D and the mask.
mx::array long_conv_with_spectrum(const mx::array& u_bld, const mx::array& spectrum, const mx::array& D_d,
                                  const LongConvOptions& options = {}, mx::StreamOrDevice s = {});

// The reverse filter r of upstream's fftconv_ref starts at the position itself: conv[t] += sum_{s>=t} r[s-t] u[s].
// The same convolution in the convention above: r[0] is added to k[0], and k_rev is the rest of r followed by a row of zeros.
struct LongFilter {
  mx::array k_ld, k_rev_ld;
};
LongFilter with_reverse_from_zero(const mx::array& k_ld, const mx::array& r_ld, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
