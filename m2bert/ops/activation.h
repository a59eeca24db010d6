#pragma once
// The model's pointwise functions, for float32, float16 and bfloat16. The result has x's dtype. Other dtypes throw Error.
#include "m2bert/mx.h"
#include "m2bert/ops/activation_kind.h"

namespace m2bert::ops {

// x Phi(x) with the exact error function (torch's GELU(approximate='none')).
mx::array gelu(const mx::array& x, mx::StreamOrDevice s = {});
mx::array gelu_fallback(const mx::array& x, mx::StreamOrDevice s = {});

// The tanh approximation of gelu ("gelu_new" and "gelu_pytorch_tanh" of Hugging Face).
mx::array gelu_tanh(const mx::array& x, mx::StreamOrDevice s = {});
mx::array gelu_tanh_fallback(const mx::array& x, mx::StreamOrDevice s = {});

// gelu(x[..., :I]) * x[..., I:] for x [..., 2 I]; the result is [..., I]. Throws Error if the last axis is odd.
mx::array gelu_gate(const mx::array& x, mx::StreamOrDevice s = {});
mx::array gelu_gate_fallback(const mx::array& x, mx::StreamOrDevice s = {});

// Any activation of an encoder layer.
mx::array activate(Activation activation, const mx::array& x, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
