#pragma once
// The Monarch Mixer with both projections as one operation. Source: Fu et al. 2023, "Monarch Mixer"; MonarchMixerSequenceMixing and
// fast_mm_block (flash_mm) of upstream.
#include <optional>

#include "m2bert/mx.h"
#include "m2bert/ops/monarch_mix.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::ops {

// The learned arrays of a mixer other than its filters, laid out as in torch's Linear and Conv1d.
struct MixerWeights {
  Weight in_weight;                   // [3 H, H], gives x1, x2, v
  std::optional<mx::array> in_bias;   // [3 H]
  mx::array short_weight;             // [3 H, 1, K]
  mx::array short_bias;               // [3 H]
  Weight out_weight;                  // [H, H]
  std::optional<mx::array> out_bias;  // [H]
};

// y = monarch_mix(u in_weight^T + in_bias, u) out_weight^T + out_bias; u and y [B, L, H].
// Gradients for u, every weight, every filter and the mask; no gradient with int8 weights. For inference, packed_mixer_block.h runs all of
// this as one kernel. Throws Error on wrong shapes or dtypes.
//
// This is upstream's fast_mm_block (a GPU kernel without a backward pass) with these correspondences:
//   linear, out_linear         in_weight, in_bias, out_weight, out_bias
//   x1_s, x2_s, v_s [H, 4]     short_weight: the three stacked, each row reversed (its first tap weighs the position itself)
//   x1_s_bias, ...             short_bias, the three concatenated
//   k, k_resid [H, 2 L]        k^T = [k, flip(k_rev)] along L, so k_rev[i] = k^T[2 L - 1 - i]; likewise k2 and k2_rev from k_resid
//   k, k_resid [H, L]          k and k2 transposed, causal
//   D, Du, gelu, dropout_mask  D, D2, options (its GELU is the exact one too)
mx::array mixer_block(const mx::array& u, const MixerWeights& weights, const MixerFilters& filters, const LongConvOptions& options = {},
                      mx::StreamOrDevice s = {});
// The same for sequences of different lengths, u and y [rows, H], without options; see monarch_mix_varlen. There may be unused rows behind
// the sequences, fewer than mixer_row_alignment() of these weights and filters behind each: their result is any number, and its gradient
// must be 0.
mx::array mixer_block_varlen(const mx::array& u, const CuSeqlens& cu_seqlens, const MixerWeights& weights, const MixerFilters& filters,
                             mx::StreamOrDevice s = {});
// Above 1: there is a kernel for sequences that begin at multiples of this, for u of this dtype and filters of L rows without spectra.
int mixer_row_alignment(const MixerWeights& weights, int L, mx::Dtype dtype, mx::StreamOrDevice s = {});
mx::array mixer_block_fallback(const mx::array& u, const MixerWeights& weights, const MixerFilters& filters,
                               const LongConvOptions& options = {}, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
