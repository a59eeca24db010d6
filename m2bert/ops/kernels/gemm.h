#pragma once
// Products with block-diagonal weights on the CPU, by oneDNN; a dense weight is one block. Strides take the place of copies.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops::kernels {

// y[m, k*q + i] = sum_j weight[k,i,j] x[m, k*p + j] + bias[k*q + i]. x [..., nb*p], weight [nb, q, p], bias [nb*q].
// All of one dtype: float32, or bfloat16 where has_bfloat16_gemm(). Differentiable in all three.
mx::array blockdiag_gemm(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, mx::Stream s);

// Whether blockdiag_gemm takes these.
bool blockdiag_gemm_takes(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias);

}  // namespace m2bert::ops::kernels
