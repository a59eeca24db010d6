#pragma once

namespace m2bert::ops {

// The activations of encoder layers. silu(x) = x sigmoid(x).
enum class Activation { gelu, gelu_tanh, relu, silu, tanh };

}  // namespace m2bert::ops
