#pragma once
// Products with block-diagonal (Monarch) matrices. Source: Dao et al. 2022, "Monarch"; blockdiag_multiply of the reference.
#include "m2bert/mx.h"

namespace m2bert::ops {

// y[..., k*q + i] = sum_j weight[k,i,j] x[..., k*p + j]: x times a block-diagonal matrix of nb blocks.
//   x [..., nb * p], weight [nb, q, p]; the result is [..., nb * q]. Throws Error when x does not have nb * p columns.
mx::array blockdiag_multiply(const mx::array& x, const mx::array& weight, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
