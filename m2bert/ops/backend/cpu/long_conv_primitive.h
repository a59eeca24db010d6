#pragma once
// The long convolution as a CPU kernel.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops::cpu {

// Whether the kernel works on u [B, L, d] on this stream: float32 or bfloat16, at least one value, d a multiple of 16.
bool long_conv_takes(const mx::array& u, mx::StreamOrDevice s);

// conv(u; k, k_rev) + D u for u [B, L, d]; k, k_rev [L, d], D [d]. Differentiable in all of them, once.
mx::array long_conv(const mx::array& u, const mx::array& k, const std::optional<mx::array>& k_rev, const mx::array& D, mx::Stream s);

}  // namespace m2bert::ops::cpu
