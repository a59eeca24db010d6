#pragma once
// The Monarch Mixer between its projections, channel-major: which kernel does which length, and the filters as it takes them.
#include "m2bert/mx.h"
#include "m2bert/ops/monarch_mix.h"

namespace m2bert::ops::cuda {

// The longest sequence that a kernel reaches: 16384 in bfloat16, 8192 in float32.
int longest_mixer_core(mx::Dtype dtype);

// Filters for sequences of `dtype`, bfloat16 or float32, and of a length up to the longest one: one array [n] of uint32 or float32.
mx::array pack_mixer_filters(const MixerFilters& filters, mx::Dtype dtype, mx::Stream s);
int packed_mixer_filter_size(int L, int H, bool residual, mx::Dtype dtype);

// monarch_mix for projected [3 H, B L] and u [H, B L]; returns [H, B L], or [H + bias_rows(), B L] with one row of ones and then zeros, for
// a product that adds a bias.
// short_filter [3 H, 8] float32: three taps, the bias and what `projected` has before position 0; the rest is unused.
mx::array mixer_core(const mx::array& projected, const mx::array& u, const mx::array& short_filter, const mx::array& packed_filters, int L,
                     bool residual, bool with_bias_rows, mx::Stream s);
int bias_rows();

}  // namespace m2bert::ops::cuda
