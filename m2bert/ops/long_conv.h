#pragma once
// Convolution along the text with a filter as long as the text, by FFT: O(L log L) instead of O(L^2).
// Source: Monarch Mixer (Fu et al. 2023), section 4; HyenaFilter and fftconv_ref of the reference.
//
// Layouts: b batch, l position, d channel. A filter is [L, d]: one value a position and channel.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// The spectrum of a filter: [L + 1, d] complex64, the first half of a transform of length 2 L.
//   k_ld      [L, d] float32, weights of this and earlier positions:  y[t] += sum_{s<=t} k[t-s] u[s]
//   k_rev_ld  [L, d] float32, weights of later positions:             y[t] += sum_{s>t}  k_rev[s-t-1] u[s]
//             (k_rev[L-1] reaches no position). Absent: a causal convolution.
// Depends on the filter alone, so that inference computes it once.
mx::array long_conv_spectrum(const mx::array& k_ld, const std::optional<mx::array>& k_rev_ld, mx::StreamOrDevice s = {});

// y = conv(u; k) + D u, with a spectrum of long_conv_spectrum made for the same L.
//   u_bld [B, L, d] float32, float16 or bfloat16; the result has its dtype, the arithmetic is float32.
//   D_d   [d] the skip term.
// Throws Error when the shapes do not fit.
mx::array long_conv(const mx::array& u_bld, const mx::array& spectrum, const mx::array& D_d, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
