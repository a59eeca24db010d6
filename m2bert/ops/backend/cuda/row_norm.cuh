#pragma once
// A row that a warp normalizes in registers: lane l has chunks l, l + 32, ... of eight columns.
#include "m2bert/ops/backend/cuda/chunk.cuh"

namespace m2bert::ops::cuda {

// A vector of a norm's parameters, float32 (wide) or bfloat16, aligned to 16 bytes.
struct NormVector {
  const void* values;
  bool wide;
  __device__ __forceinline__ void load(int chunk, float* out) const {
    if (wide) {
#pragma unroll
      for (int j = 0; j < CHUNK; ++j) out[j] = reinterpret_cast<const float*>(values)[chunk * CHUNK + j];
    } else {
      unpack(reinterpret_cast<const Chunk*>(values)[chunk], out);
    }
  }
};

__device__ __forceinline__ float sum_warp(float value) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    value += __uint_as_float(__shfl_sync(~0u, __float_as_uint(value), int(threadIdx.x % 32) ^ distance));
  }
  return value;
}

struct RowStatistics {
  float mean, scale;  // scale: 1 / sqrt(variance + eps)
};
// v: 0 beyond H.
template <int PASSES>
__device__ __forceinline__ RowStatistics row_statistics(const float (*v)[CHUNK], int H, float eps) {
  const int lane = threadIdx.x % 32, chunks = H / CHUNK;
  float sum = 0, squares = 0;
#pragma unroll
  for (int k = 0; k < PASSES; ++k) {
#pragma unroll
    for (int j = 0; j < CHUNK; ++j) sum += v[k][j];
  }
  const float mean = sum_warp(sum) / float(H);
#pragma unroll
  for (int k = 0; k < PASSES; ++k) {
    if (lane + 32 * k >= chunks) continue;
#pragma unroll
    for (int j = 0; j < CHUNK; ++j) squares += (v[k][j] - mean) * (v[k][j] - mean);
  }
  return {mean, rsqrtf(sum_warp(squares) / float(H) + eps)};
}

}  // namespace m2bert::ops::cuda
