#pragma once
// The Monarch Mixer between its two projections as one CPU kernel.
#include <optional>

#include "m2bert/mx.h"
#include "m2bert/ops/monarch_mix.h"

namespace m2bert::ops::cpu {

// Whether the kernel works on H channels of this dtype on this stream.
bool mixer_takes(int H, mx::Dtype dtype, mx::StreamOrDevice s);

// The filters as the kernels want them for texts of float32 or bfloat16; evaluated later as any array. See mixer_simd.h.
mx::array pack_filters(const MixerFilters& filters, mx::Dtype dtype, mx::Stream s);

// y [B, L, H] of monarch_mix from filters of the same L; prepares them in passing. Differentiable in every input, once.
mx::array mix_from_filters(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                           const MixerFilters& filters, mx::Stream s);

}  // namespace m2bert::ops::cpu
