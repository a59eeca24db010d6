// y [rows, columns] from x [columns, rows], in tiles of 32 by 32 through shared memory.
#include "m2bert/ops/backend/cuda/scalar.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

namespace {

constexpr int TILE = 32, LINES = 8;  // of a tile at once, by 256 threads

template <typename T>
__device__ __forceinline__ void transpose(const T* x, T* y, int rows, int columns, T* tile) {
  const int i = threadIdx.x % TILE, line = threadIdx.x / TILE, row = blockIdx.y * TILE, column = blockIdx.x * TILE;
#pragma unroll
  for (int l = line; l < TILE; l += LINES) {
    if (row + i < rows && column + l < columns) tile[l * (TILE + 1) + i] = x[size_t(column + l) * rows + row + i];
  }
  __syncthreads();
#pragma unroll
  for (int l = line; l < TILE; l += LINES) {
    if (row + l < rows && column + i < columns) y[size_t(row + l) * columns + column + i] = tile[i * (TILE + 1) + l];
  }
}

}  // namespace

// Grid: tiles of columns, of rows; 256 threads; shared memory: 32 * 33 values.
extern "C" __global__ void transpose_bfloat16(const BFloat16* x, BFloat16* y, int rows, int columns) {
  M2BERT_SHARED_MEMORY(shared_memory);
  transpose(x, y, rows, columns, reinterpret_cast<BFloat16*>(shared_memory));
}
extern "C" __global__ void transpose_float32(const float* x, float* y, int rows, int columns) {
  M2BERT_SHARED_MEMORY(shared_memory);
  transpose(x, y, rows, columns, reinterpret_cast<float*>(shared_memory));
}

}  // namespace m2bert::ops::cuda
