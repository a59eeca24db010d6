#pragma once
// Products with block-diagonal (Monarch) matrices. Source: Dao et al. 2022, "Monarch"; blockdiag_multiply of the reference.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// y[..., k*q + i] = sum_j weight[k,i,j] x[..., k*p + j] + bias[k*q + i]: x times a block-diagonal matrix of nb blocks.
//   x [..., nb * p], weight [nb, q, p], bias [nb * q]; the result is [..., nb * q].
// Throws Error when x does not have nb * p columns. On the CPU each block is one product of oneDNN on strided views;
// blockdiag_multiply_reference is composed of MLX's ops.
mx::array blockdiag_multiply(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias = std::nullopt,
                             mx::StreamOrDevice s = {});
mx::array blockdiag_multiply_reference(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias = std::nullopt,
                                       mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
