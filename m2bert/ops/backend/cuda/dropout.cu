// Dropout of values in order. See m2bert/ops/dropout_mask.h.
#include "m2bert/ops/backend/cuda/dropout.cuh"
#include "m2bert/ops/backend/cuda/scalar.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

namespace {

constexpr int VALUES = 8;  // of a thread

template <typename T>
__device__ __forceinline__ void drop(const T* x, const uint32_t* key, T* y, int64_t n, uint32_t threshold, float scale) {
  constexpr int V = Vector<T>::size;
  const int64_t first = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * VALUES;
  if (first >= n) return;
  const Dropout dropout{key, threshold, scale};
  DropoutLine line(dropout, uint64_t(first));
  auto drop_one = [&](T value) { return from_float<T>(dropped(to_float(value), line.next(dropout))); };
  if (!are_aligned(x, y) || first + VALUES > n) {
    for (int i = 0; i < VALUES && first + i < n; ++i) y[first + i] = drop_one(x[first + i]);
    return;
  }
#pragma unroll
  for (int i = 0; i < VALUES; i += V) {
    Vector<T> v = *reinterpret_cast<const Vector<T>*>(x + first + i);
#pragma unroll
    for (int j = 0; j < V; ++j) v.values[j] = drop_one(v.values[j]);
    *reinterpret_cast<Vector<T>*>(y + first + i) = v;
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
