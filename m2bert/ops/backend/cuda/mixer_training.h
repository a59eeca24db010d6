#pragma once
// The Monarch Mixer's core with its gradients, bfloat16, channel-major.
#include "m2bert/ops/backend/cuda/mixer_core.h"

namespace m2bert::ops::cuda {

// The longest sequence that the kernel of the filters' gradient reaches.
constexpr int LONGEST_TRAINED = 8192;

// mixer_core for projected [3 H, B L], with gradients for every argument. The filters have no spectra. Sums over positions and sequences
// have a fixed order: equal inputs give equal gradients.
mx::array differentiable_mixer_core(const mx::array& projected, const mx::array& u, const mx::array& short_filter,
                                    const MixerFilters& filters, int L, bool with_bias_rows, mx::Stream s);

}  // namespace m2bert::ops::cuda
