#pragma once
// Arrays for kernels that take float32 or bfloat16 (scalar_array.cuh).
#include <initializer_list>

#include "m2bert/mx.h"

namespace m2bert::ops::cuda {

// As it is, or as float32.
inline mx::array float_array(const mx::array& a, mx::Stream s) { return a.dtype() == mx::bfloat16 ? a : mx::astype(a, mx::float32, s); }

// Bit i: whether the i-th array is float32.
inline int wide_bits(std::initializer_list<mx::array> arrays) {
  int bits = 0, bit = 1;
  for (const auto& a : arrays) bits |= a.dtype() == mx::float32 ? bit : 0, bit *= 2;
  return bits;
}

}  // namespace m2bert::ops::cuda
