#pragma once
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops::kernels {

// Self-attention on the CPU for inference; arguments as ops::self_attention, slopes empty: no ALiBi. float32 or bfloat16.
mx::array self_attention(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const mx::array& key_bias,
                         const std::vector<float>& slopes, mx::Stream s);

}  // namespace m2bert::ops::kernels
