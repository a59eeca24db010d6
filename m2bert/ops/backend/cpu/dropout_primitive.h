#pragma once
#include "m2bert/mx.h"

namespace m2bert::ops::cpu {

// dropout(x, p, key) on the CPU, differentiable once in x; x float32 or bfloat16, at least one value; key [2] uint32.
mx::array dropout(const mx::array& x, float p, const mx::array& key, mx::Stream s);

}  // namespace m2bert::ops::cpu
