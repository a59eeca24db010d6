#pragma once
// Arrays of float32 (wide) or bfloat16: which of them is known at run time.
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

__device__ __forceinline__ float load_scalar(const void* x, int64_t i, bool wide) {
  return wide ? static_cast<const float*>(x)[i] : to_float(static_cast<const BFloat16*>(x)[i]);
}
__device__ __forceinline__ void store_scalar(void* x, int64_t i, bool wide, float value) {
  if (wide) {
    static_cast<float*>(x)[i] = value;
  } else {
    static_cast<BFloat16*>(x)[i] = from_float<BFloat16>(value);
  }
}

}  // namespace m2bert::ops::cuda
