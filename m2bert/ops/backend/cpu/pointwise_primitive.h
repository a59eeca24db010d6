#pragma once
// Row-wise CPU kernels, differentiable once in every array.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops::cpu {

// Whether the kernels take x on this stream: float32 or bfloat16, at least one value.
bool pointwise_takes(const mx::array& x, mx::StreamOrDevice s);

mx::array gelu(const mx::array& x, mx::Stream s);       // [...] -> [...]
mx::array gelu_tanh(const mx::array& x, mx::Stream s);  // [...] -> [...]
mx::array gelu_gate(const mx::array& x, mx::Stream s);  // [..., 2 I] -> [..., I]

// float32 to bfloat16, or back. The gradient, too, may be differentiated.
mx::array cast(const mx::array& x, mx::Dtype dtype, mx::Stream s);

// [rows, n] -> [n], added in float. No gradient.
mx::array column_sum(const mx::array& x, mx::Stream s);

mx::array add_layer_norm(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias,
                         float eps, mx::Stream s);

}  // namespace m2bert::ops::cpu
