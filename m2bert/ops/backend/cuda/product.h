#pragma once
// Matrix products of inference.
#include "m2bert/mx.h"

namespace m2bert::ops::cuda {

// weight x for a dense weight [q, p] or a block-diagonal one [nb, q, p], and x [nb p, positions]. Noted by a Recording (pass_plan.h).
mx::array product(const mx::array& weight, const mx::array& x, mx::Stream s);

}  // namespace m2bert::ops::cuda
