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

// The places of a row are divided among the warps of a block, whose lanes have 16 bytes of columns each: a frequent token has thousands.
template <typename T>
__device__ __forceinline__ void sum_rows(const T* dy, const uint32_t* order, const int* sorted, T* dtable, int n, int width) {
  constexpr int V = Vector<T>::size, COLUMNS = 32 * V;
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const partial = reinterpret_cast<float*>(shared_memory);  // [warps][COLUMNS]
  const int row = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = blockIdx.y * COLUMNS, column = first + lane * V;
  const int bound = lower_bound(sorted, n, row + lane % 2);
  const int begin = int(__shfl_sync(~0u, uint32_t(bound), 0)), end = int(__shfl_sync(~0u, uint32_t(bound), 1));
  float sum[V] = {};
  if (column >= width) {
    // Lanes behind the last column wait for the others.
  } else if (are_aligned(dy, dy) && width % V == 0) {
#pragma unroll 4
    for (int i = begin + warp; i < end; i += TABLE_WARPS) {
      const auto values = *reinterpret_cast<const Vector<T>*>(dy + size_t(order[i]) * width + column);
#pragma unroll
      for (int j = 0; j < V; ++j) sum[j] += to_float(values.values[j]);
    }
  } else {
    for (int i = begin + warp; i < end; i += TABLE_WARPS) {
#pragma unroll
      for (int j = 0; j < V; ++j) {
        if (column + j < width) sum[j] += to_float(dy[size_t(order[i]) * width + column + j]);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < V; ++j) partial[threadIdx.x * V + j] = sum[j];
  __syncthreads();
  for (int c = threadIdx.x; c < COLUMNS && first + c < width; c += blockDim.x) {
    float total = partial[c];
    for (int w = 1; w < TABLE_WARPS; ++w) total += partial[w * COLUMNS + c];
    dtable[size_t(row) * width + first + c] = from_float<T>(total);
  }
}

}  // namespace

// Grid: rows of the table, groups of 512 bytes of their columns. 256 threads, shared memory: a float for each column and warp. dy [n,
// width]; order [n]: places of the batch sorted by their row; sorted [n]: these rows; dtable [rows, width].
#define EMBEDDING_GRADIENT(name, T)                                                              \
  extern "C" __global__ void __launch_bounds__(256)                                              \
      name(const T* dy, const uint32_t* order, const int* sorted, T* dtable, int n, int width) { \
    sum_rows(dy, order, sorted, dtable, n, width);                                               \
  }
EMBEDDING_GRADIENT(embedding_gradient_bfloat16, BFloat16)
EMBEDDING_GRADIENT(embedding_gradient_float32, float)

}  // namespace m2bert::ops::cuda
