// The gradient of rows taken from a table: each row of the table adds up what its places in the batch got, in their order.
#include "m2bert/ops/backend/cuda/scalar.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

namespace {

constexpr int TABLE_WARPS = 8;

// The first of n sorted values that is not below `value`.
__device__ __forceinline__ int lower_bound(const int* sorted, int n, int value) {
  int first = 0;
  while (n > 0) {
    const int half = n / 2;
    if (sorted[first + half] < value) first += half + 1, n -= half + 1;
    else n = half;
  }
  return first;
}

template <typename T>
__device__ __forceinline__ void sum_rows(const T* dy, const uint32_t* order, const int* sorted, T* dtable, int n, int width) {
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const partial = reinterpret_cast<float*>(shared_memory);  // [warps][32]
  const int row = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int begin = lower_bound(sorted, n, row), end = begin + lower_bound(sorted + begin, n - begin, row + 1);
  for (int first = 0; first < width; first += 32) {
    const int column = first + lane;
    float sum = 0;
#pragma unroll 4
    for (int i = begin + warp; i < end; i += TABLE_WARPS) {
      if (column < width) sum += to_float(dy[size_t(order[i]) * width + column]);
    }
    __syncthreads();
    partial[warp * 32 + lane] = sum;
    __syncthreads();
    if (warp != 0 || column >= width) continue;
    for (int i = 1; i < TABLE_WARPS; ++i) sum += partial[i * 32 + lane];
    dtable[size_t(row) * width + column] = from_float<T>(sum);
  }
}

}  // namespace

// Grid: rows of the table. 256 threads. dy [n, width]; order [n]: places of the batch sorted by their row; sorted [n]: these rows;
// dtable [rows, width].
#define EMBEDDING_GRADIENT(name, T)                                                              \
  extern "C" __global__ void __launch_bounds__(256)                                              \
      name(const T* dy, const uint32_t* order, const int* sorted, T* dtable, int n, int width) { \
    sum_rows(dy, order, sorted, dtable, n, width);                                               \
  }
EMBEDDING_GRADIENT(embedding_gradient_bfloat16, BFloat16)
EMBEDDING_GRADIENT(embedding_gradient_float32, float)

}  // namespace m2bert::ops::cuda
