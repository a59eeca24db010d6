#pragma once
// Pointwise functions of the model, of float32, float16 and bfloat16; the result has x's dtype. Throws Error for any other dtype.
#include "m2bert/mx.h"

namespace m2bert::ops {

// x Phi(x) with the exact error function (torch's GELU(approximate='none')).
// On the CPU one pass of our kernel, forward and gradient; the reference is composed.
mx::array gelu(const mx::array& x, mx::StreamOrDevice s = {});
mx::array gelu_fallback(const mx::array& x, mx::StreamOrDevice s = {});

// The tanh approximation of gelu ("gelu_new" and "gelu_pytorch_tanh" of Hugging Face). The kernel and the reference as for gelu.
mx::array gelu_tanh(const mx::array& x, mx::StreamOrDevice s = {});
mx::array gelu_tanh_fallback(const mx::array& x, mx::StreamOrDevice s = {});

// gelu(x[..., :I]) * x[..., I:] for x [..., 2 I]; the result is [..., I]. Throws Error when the last axis is odd.
// On the CPU one pass of our kernel, forward and gradient; the reference is composed.
mx::array gelu_gate(const mx::array& x, mx::StreamOrDevice s = {});
mx::array gelu_gate_fallback(const mx::array& x, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
