#pragma once
// Products with block-diagonal weights on the CPU, by oneDNN; a dense weight is one block. Strides take the place of copies.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops::cpu {

// y[m, k*q + i] = sum_j weight[k,i,j] x[m, k*p + j] + bias[k*q + i]. x [..., nb*p], weight [nb, q, p], bias [nb*q].
// float32, bfloat16 or float16, all of one dtype, and at least one row. Differentiable in all three. Where the CPU has no product of that
// dtype (float16; bfloat16 without has_bfloat16_gemm()) it is computed in float32: MLX's own takes 40 times as long.
mx::array blockdiag_gemm(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, mx::Stream s);

// Whether blockdiag_gemm takes these.
bool blockdiag_gemm_takes(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias);

}  // namespace m2bert::ops::cpu
