#pragma once
// A linear layer with its bias, alone or with the gelu behind it. Source: fused_dense of the reference (Apex).
#include "m2bert/mx.h"

namespace m2bert::ops {

// x W^T + b: linear with a bias. x [..., in], weight [out, in], bias [out], of one floating dtype -> [..., out] in it. Differentiable in
// all three. Throws Error on other shapes or dtypes. The reference, which computes in float16 and leaves the product to a CUDA library,
// is this function; `linear` (linear.h) also takes no bias. On the CPU oneDNN adds the bias in the product.
mx::array fused_dense(const mx::array& x, const mx::array& weight, const mx::array& bias, mx::StreamOrDevice s = {});
mx::array fused_dense_fallback(const mx::array& x, const mx::array& weight, const mx::array& bias, mx::StreamOrDevice s = {});

enum class GeluKind {
  exact,  // x Phi(x)
  tanh,   // the tanh approximation
};

// gelu(x W^T + b): the same, with the activation; on the CPU the exact one is a kernel too.
mx::array fused_dense_gelu(const mx::array& x, const mx::array& weight, const mx::array& bias, GeluKind kind = GeluKind::exact,
                           mx::StreamOrDevice s = {});
mx::array fused_dense_gelu_fallback(const mx::array& x, const mx::array& weight, const mx::array& bias, GeluKind kind = GeluKind::exact,
                                     mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
