#pragma once
// The Monarch Mixer as one op, whole or between its two projections: short convolution, gate, long convolution, gate, residual convolution.
// Source: Fu et al. 2023, "Monarch Mixer"; MonarchSequenceMixing and flash_mm of the reference.
#include <optional>

#include "m2bert/mx.h"
#include "m2bert/ops/long_conv.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::ops {

// Filters in the time domain, [L, H] each, and skip terms [H]. k_rev and k2_rev: both directions, or neither (causal).
struct MixerFilters {
  mx::array k, D;
  std::optional<mx::array> k_rev;
  std::optional<mx::array> k2, D2, k2_rev;  // the residual convolution, if there is one
};

// Throws Error, in the name of `op`, unless the parts of the filters fit together.
void check_filters(const char* op, const MixerFilters& filters);

// y = x2 * g(conv(x1 * v; k, D)) + conv(u; k2, D2), (x1, x2, v) = thirds of the causal depthwise convolution of `projected`.
//   projected [B, L, 3 H]; u [B, L, H]; short_weight [3 H, 1, K], short_bias [3 H], any K >= 1 (the models have 3). The result is [B, L,
//   H]. g: `options` of the gated long convolution, which are its gelu and dropout mask; none by default.
// float32, float16 or bfloat16; gradients for every input. Throws Error when shapes or dtypes do not fit.
// On the CPU one kernel, forward and backward, where H is a multiple of 16 (float32, bfloat16), K is 3 and there are no options;
// monarch_mix_fallback is composed of MLX's ops.
mx::array monarch_mix(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                      const MixerFilters& filters, const LongConvOptions& options = {}, mx::StreamOrDevice s = {});
mx::array monarch_mix_fallback(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                                const MixerFilters& filters, const LongConvOptions& options = {}, mx::StreamOrDevice s = {});

// The learned arrays of a mixer beside its filters, laid out as torch's Linear and Conv1d have them.
struct MixerWeights {
  Weight in_weight;                   // [3 H, H], gives x1, x2, v
  std::optional<mx::array> in_bias;   // [3 H]
  mx::array short_weight;             // [3 H, 1, K]
  mx::array short_bias;               // [3 H]
  Weight out_weight;                  // [H, H]
  std::optional<mx::array> out_bias;  // [H]
};

// The whole mixer in one call: y = monarch_mix(u in_weight^T + in_bias, u) out_weight^T + out_bias, u and y [B, L, H].
// Gradients for u, every weight, every filter and the mask; it takes the kernels of `linear` and monarch_mix. No gradient with int8
// weights. For inference prepared_mixer.h has a kernel for all of it.
//
// It is fast_mm_block of the reference (flash_mm, a GPU kernel without a backward pass) with these correspondences:
//   linear, out_linear         in_weight, in_bias, out_weight, out_bias
//   x1_s, x2_s, v_s [H, 4]     short_weight: the three below each other, each row turned round (its first tap weighs the position itself)
//   x1_s_bias, ...             short_bias, the three after each other
//   k, k_resid [H, 2 L]        k^T = [k, flip(k_rev)] along L, so k_rev[i] = k^T[2 L - 1 - i]; k2 and k2_rev so from k_resid
//   k, k_resid [H, L]          k and k2 transposed, causal
//   D, Du, gelu, dropout_mask  D, D2, options (the GELU there is the exact one too)
mx::array mixer_block(const mx::array& u, const MixerWeights& weights, const MixerFilters& filters, const LongConvOptions& options = {},
                        mx::StreamOrDevice s = {});
mx::array mixer_block_fallback(const mx::array& u, const MixerWeights& weights, const MixerFilters& filters,
                                  const LongConvOptions& options = {}, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
