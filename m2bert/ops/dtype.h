#pragma once
#include "m2bert/error.h"
#include "m2bert/mx.h"

namespace m2bert::ops {

// Whether x has a dtype that the operations differentiate: float32, float16 or bfloat16. (GPUs have no float64.)
inline bool is_float(const mx::array& x) { return x.dtype() == mx::float32 || x.dtype() == mx::float16 || x.dtype() == mx::bfloat16; }

inline bool is_half(mx::Dtype dtype) { return dtype == mx::float16 || dtype == mx::bfloat16; }

// Throws Error unless x has one of the former: "[op] argument has dtype int32, wants ...".
inline void require_float(const char* op, const char* argument, const mx::array& x) {
  require(is_float(x), "[", op, "] ", argument, " has dtype ", x.dtype(), ", wants float32, float16 or bfloat16");
}

}  // namespace m2bert::ops
