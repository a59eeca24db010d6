#pragma once
// The Monarch Mixer with its projections and gradients, bfloat16, channel-major.
#include "m2bert/ops/mixer_block.h"

namespace m2bert::ops::cuda {

// mixer_block for u [H, B L], with gradients for every argument. The filters have no spectra. Sums over positions and sequences have a
// fixed order: equal inputs give equal gradients. sequences: CuSeqlens::table() of sequences of up to L positions that begin at multiples
// of 8 and have all columns; what is behind each of them becomes 0, and so does its gradient.
mx::array differentiable_mixer_block(const mx::array& u, const MixerWeights& weights, const MixerFilters& filters, int L,
                                     const std::optional<mx::array>& sequences, mx::Stream s);

// The same without the projections: monarch_mix for projected [3 H, B L] and u [H, B L].
mx::array differentiable_mixer_core(const mx::array& projected, const mx::array& u, const mx::array& short_weight,
                                    const mx::array& short_bias, const MixerFilters& filters, int L, mx::Stream s);

}  // namespace m2bert::ops::cuda
