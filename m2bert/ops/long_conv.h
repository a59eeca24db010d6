#pragma once
// Convolution along the text with a filter as long as the text, by FFT: O(L log L) instead of O(L^2).
// Source: Monarch Mixer (Fu et al. 2023), section 4; HyenaFilter and fftconv_ref of the reference.
//
// Layouts: b batch, l position, d channel. A filter is [L, d]: one value a position and channel.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// What may follow the convolution, in this order.
struct LongConvOptions {
  bool gelu = false;                      // gelu with the exact error function
  std::optional<mx::array> dropout_mask;  // [B, d], multiplied onto every position; zeros and 1 / (1 - p) make it a dropout
};

// y = gelu(conv(u; k, k_rev) + D u) * dropout_mask
//   u_bld     [B, L, d]; any L >= 1
//   k_ld      [L, d], weights of this and earlier positions:  conv[t] += sum_{s<=t} k[t-s] u[s]
//   k_rev_ld  [L, d], weights of later positions:             conv[t] += sum_{s>t}  k_rev[s-t-1] u[s]
//             (k_rev[L-1] reaches no position). Absent: a causal convolution.
//   D_d       [d], the skip term
// float32, float16 or bfloat16 each; the result has u's dtype, the arithmetic is float32. Gradients for u, k, k_rev, D and the mask.
// Throws Error when shapes or dtypes do not fit. On the CPU a kernel convolves where d is a multiple of 16 (float32, bfloat16);
// long_conv_fallback is composed of MLX's ops.
mx::array long_conv(const mx::array& u_bld, const mx::array& k_ld, const std::optional<mx::array>& k_rev_ld, const mx::array& D_d,
                    const LongConvOptions& options = {}, mx::StreamOrDevice s = {});
mx::array long_conv_fallback(const mx::array& u_bld, const mx::array& k_ld, const std::optional<mx::array>& k_rev_ld, const mx::array& D_d,
                              const LongConvOptions& options = {}, mx::StreamOrDevice s = {});

// The spectrum of a filter, [spectrum_rows(L), d] complex64, differentiable; k_ld and k_rev_ld as above.
// Depends on the filter alone, so that inference computes it once.
mx::array long_conv_spectrum(const mx::array& k_ld, const std::optional<mx::array>& k_rev_ld, mx::StreamOrDevice s = {});

// The convolution is linear, so its transforms may be longer than 2 L. They have length 2 m, m the least number >= L without a prime factor
// above 5 (fast and exact everywhere, for a prime L too); the spectrum is the first half of one, m + 1 rows. For L = 2^a 3^b 5^c: L + 1.
int spectrum_rows(int L);

// long_conv with a spectrum of long_conv_spectrum made for the same L (another L is an Error where its spectrum has other rows).
// Gradients for u, the spectrum, D and the mask.
mx::array long_conv_with_spectrum(const mx::array& u_bld, const mx::array& spectrum, const mx::array& D_d,
                                  const LongConvOptions& options = {}, mx::StreamOrDevice s = {});

// fftconv_ref of the reference has a k_rev argument of its own, which starts at the position itself: conv[t] += sum_{s>=t} r[s-t] u[s].
// The same convolution in the convention above: k[0] takes r[0], and k_rev is the rest of r with a last row of zeros.
struct LongFilter {
  mx::array k_ld, k_rev_ld;
};
LongFilter with_reverse_from_zero(const mx::array& k_ld, const mx::array& r_ld, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
