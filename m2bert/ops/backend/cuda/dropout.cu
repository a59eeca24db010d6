// Dropout of values in order. See m2bert/ops/dropout_mask.h.
#include "m2bert/ops/backend/cuda/dropout.cuh"
#include "m2bert/ops/backend/cuda/scalar.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

namespace {

constexpr int VALUES = 8;  // of a thread

template <typename T>
__device__ __forceinline__ void drop(const T* x, const uint32_t* key, T* y, int64_t n, uint32_t threshold, float scale) {
  const int64_t first = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * VALUES;
  const Dropout dropout{key, threshold, scale};
  DropoutFactors factors;
#pragma unroll
  for (int i = 0; i < VALUES; ++i) {
    if (first + i >= n) return;
    const float factor = factors(dropout, uint64_t(first + i), i == 0);
    y[first + i] = from_float<T>(factor == 0 ? 0.0f : to_float(x[first + i]) * factor);
  }
}

}  // namespace

// Blocks of 256 threads.
extern "C" __global__ void dropout_bfloat16(const BFloat16* x, const uint32_t* key, BFloat16* y, int n, int threshold, float scale) {
  drop(x, key, y, n, uint32_t(threshold), scale);
}
extern "C" __global__ void dropout_float32(const float* x, const uint32_t* key, float* y, int n, int threshold, float scale) {
  drop(x, key, y, n, uint32_t(threshold), scale);
}

}  // namespace m2bert::ops::cuda
