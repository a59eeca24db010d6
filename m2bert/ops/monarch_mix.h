#pragma once
// The Monarch Mixer between its two projections as one operation: short convolution, gate, long convolution, gate, residual convolution.
// Source: Fu et al. 2023, "Monarch Mixer"; MonarchMixerSequenceMixing and flash_mm of upstream.
#include <optional>

#include "m2bert/mx.h"
#include "m2bert/ops/cu_seqlens.h"
#include "m2bert/ops/long_conv.h"

namespace m2bert::ops {

// Filters in the time domain, [L, H] each, and skip terms [H]. k_rev and k2_rev: both (bidirectional) or neither (causal). k2, D2, k2_rev:
// the residual convolution, if there is one.
struct MixerFilters {
  mx::array k, D;
  std::optional<mx::array> k_rev = std::nullopt;
  std::optional<mx::array> k2 = std::nullopt, D2 = std::nullopt, k2_rev = std::nullopt;
  // Optional: long_conv_spectrum of k, k_rev and of k2, k2_rev, computed once for several calls. The fallback then uses them instead of the
  // filters, which get no gradient.
  std::optional<mx::array> spectrum = std::nullopt, spectrum2 = std::nullopt;
};

// Throws Error, naming `op`, unless the parts of the filters are consistent.
void check_filters(const char* op, const MixerFilters& filters);

// y = x2 * g(conv(x1 * v; k, D)) + conv(u; k2, D2), where (x1, x2, v) are the thirds of the causal depthwise convolution of `projected`.
//   projected [B, L, 3 H]; u [B, L, H]; short_weight [3 H, 1, K] with any K >= 1 (3 in the models), short_bias [3 H] -> [B, L, H].
//   g: the `options` of the gated long convolution (GELU, dropout mask); none by default.
// float32, float16 or bfloat16; gradients for every input. Throws Error on wrong shapes or dtypes.
mx::array monarch_mix(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                      const MixerFilters& filters, const LongConvOptions& options = {}, mx::StreamOrDevice s = {});
mx::array monarch_mix_fallback(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                               const MixerFilters& filters, const LongConvOptions& options = {}, mx::StreamOrDevice s = {});

// monarch_mix of sequences of different lengths: projected [nnz, 3 H], u [nnz, H] -> [nnz, H]. A sequence of n tokens is mixed with the
// first n rows of the filters, as if it were a batch of its own; the filters [F, H] have at least as many rows as the longest sequence has
// tokens. There are no options. On a CPU with kernels the result of a sequence has the same bits in every batch, and the time follows the
// lengths. The fallback pads the sequences to F.
mx::array monarch_mix_varlen(const mx::array& projected, const mx::array& u, const CuSeqlens& cu_seqlens, const mx::array& short_weight,
                             const mx::array& short_bias, const MixerFilters& filters, mx::StreamOrDevice s = {});
mx::array monarch_mix_varlen_fallback(const mx::array& projected, const mx::array& u, const CuSeqlens& cu_seqlens,
                                      const mx::array& short_weight, const mx::array& short_bias, const MixerFilters& filters,
                                      mx::StreamOrDevice s = {});

// The rows of the filters that monarch_mix_varlen transforms for a sequence of `length` tokens, given filters of `available` rows: the next
// power of two, or all. It depends on no other sequence, so neither does the rounding.
int varlen_filter_length(int length, int available);

}  // namespace m2bert::ops
