#pragma once
#include "m2bert/mx.h"

namespace m2bert::ops {

// The finalizer of MurmurHash3 (public domain), elementwise: every bit of the input affects every bit of the result. x uint32.
mx::array hash_mix(mx::array x, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
