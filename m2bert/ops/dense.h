#pragma once
// A linear layer with bias, optionally followed by GELU. Source: upstream's fused_dense (Apex).
#include "m2bert/mx.h"

namespace m2bert::ops {

// x W^T + b. x [..., in], weight [out, in], bias [out], all of one floating dtype -> [..., out] of that dtype. Differentiable in all three.
// Throws Error on other shapes or dtypes. Upstream computes the same in float16 with a CUDA library. In `linear` (linear.h) the bias is
// optional.
mx::array fused_dense(const mx::array& x, const mx::array& weight, const mx::array& bias, mx::StreamOrDevice s = {});
mx::array fused_dense_fallback(const mx::array& x, const mx::array& weight, const mx::array& bias, mx::StreamOrDevice s = {});

enum class GeluKind {
  exact,  // x Phi(x)
  tanh,   // the tanh approximation
};

// gelu(x W^T + b).
mx::array fused_dense_gelu(const mx::array& x, const mx::array& weight, const mx::array& bias, GeluKind kind = GeluKind::exact,
                           mx::StreamOrDevice s = {});
mx::array fused_dense_gelu_fallback(const mx::array& x, const mx::array& weight, const mx::array& bias, GeluKind kind = GeluKind::exact,
                                    mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
