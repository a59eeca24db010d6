#pragma once
#include "m2bert/mx.h"

namespace m2bert::ops {

// Sets each value to 0 with probability p and divides the others by 1 - p. The key decides the mask. Throws Error unless 0 <= p < 1.
mx::array dropout(const mx::array& x, float p, const mx::array& key, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
