#pragma once
// The Monarch Mixer between its two projections, as one op: short convolution, gate, long convolution, gate, residual convolution.
// Source: Fu et al. 2023, "Monarch Mixer"; MonarchSequenceMixing and flash_mm of the reference.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// Filters in the time domain, [L, H] each, and skip terms [H]. k_rev and k2_rev: both directions, or neither (causal).
struct MixerFilters {
  mx::array k, D;
  std::optional<mx::array> k_rev;
  std::optional<mx::array> k2, D2, k2_rev;  // the residual convolution, if there is one
};

// y = x2 * conv(x1 * v; k, D) + conv(u; k2, D2), (x1, x2, v) = thirds of the causal depthwise convolution of `projected`.
//   projected [B, L, 3 H]; u [B, L, H]; short_weight [3 H, 1, 3], short_bias [3 H]. The result is [B, L, H].
// Gradients for every input. On the CPU one kernel, forward and backward, where H is a multiple of 16 (float32, bfloat16);
// monarch_mix_reference is composed of MLX's ops. Throws Error when the shapes do not fit.
mx::array monarch_mix(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                      const MixerFilters& filters, mx::StreamOrDevice s = {});
mx::array monarch_mix_reference(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                                const MixerFilters& filters, mx::StreamOrDevice s = {});

// For inference: the kernel, from filters that prepare_mixer made once for this L. No gradient.
bool has_mixer_kernel(int H, mx::Dtype dtype, mx::StreamOrDevice s = {});
mx::array prepare_mixer(const MixerFilters& filters, mx::StreamOrDevice s = {});
mx::array monarch_mix_prepared(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                               const mx::array& prepared, bool residual, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
