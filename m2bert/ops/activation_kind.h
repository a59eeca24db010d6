#pragma once

namespace m2bert::ops {

// The activations that an encoder layer may have between its two products. silu(x) = x sigmoid(x).
enum class Activation { gelu, gelu_tanh, relu, silu };

}  // namespace m2bert::ops
