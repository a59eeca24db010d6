#pragma once
// A row that a warp normalizes in registers: lane l has chunks l, l + 32, ... of eight columns.
#include "m2bert/ops/backend/cuda/chunk.cuh"

namespace m2bert::ops::cuda {

// Eight columns of float32 or bfloat16. aligned: to 16 bytes, so that they are read as vectors.
template <typename T>
__device__ __forceinline__ void load_columns(const T* from, bool aligned, float* out) {
  constexpr int SIZE = Vector<T>::size;
#pragma unroll
  for (int i = 0; i < CHUNK; i += SIZE) {
    Vector<T> v;
    if (aligned) v = *reinterpret_cast<const Vector<T>*>(from + i);
#pragma unroll
    for (int j = 0; j < SIZE; ++j) out[i + j] = to_float(aligned ? v.values[j] : from[i + j]);
  }
}
// To an aligned place.
template <typename T>
__device__ __forceinline__ void store_columns(T* to, const float* values) {
  constexpr int SIZE = Vector<T>::size;
#pragma unroll
  for (int i = 0; i < CHUNK; i += SIZE) {
    Vector<T> v;
#pragma unroll
    for (int j = 0; j < SIZE; ++j) v.values[j] = from_float<T>(values[i + j]);
    *reinterpret_cast<Vector<T>*>(to + i) = v;
  }
}

// A vector of a norm's parameters, float32 (wide) or bfloat16.
struct NormVector {
  const void* values;
  bool wide;
  __device__ __forceinline__ void load(int chunk, float* out) const {
    const bool aligned = are_aligned(values, values);
    if (wide) {
      load_columns(static_cast<const float*>(values) + chunk * CHUNK, aligned, out);
    } else {
      load_columns(static_cast<const BFloat16*>(values) + chunk * CHUNK, aligned, out);
    }
  }
};

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
  const float mean = sum_lanes<32>(sum) / float(H);
#pragma unroll
  for (int k = 0; k < PASSES; ++k) {
    if (lane + 32 * k >= chunks) continue;
#pragma unroll
    for (int j = 0; j < CHUNK; ++j) squares += (v[k][j] - mean) * (v[k][j] - mean);
  }
  return {mean, rsqrtf(sum_lanes<32>(squares) / float(H) + eps)};
}

// Stores norm(v) weight + bias in a row of y. v: 0 beyond H; it changes.
template <typename T, int PASSES>
__device__ __forceinline__ void store_normalized(float (*v)[CHUNK], const NormVector& weight, const NormVector& bias, int H, float eps,
                                                 T* y) {
  const RowStatistics row = row_statistics<PASSES>(v, H, eps);
#pragma unroll
  for (int k = 0; k < PASSES; ++k) {
    const int chunk = threadIdx.x % 32 + 32 * k;
    if (chunk * CHUNK >= H) continue;
    float w[CHUNK], b[CHUNK];
    weight.load(chunk, w), bias.load(chunk, b);
#pragma unroll
    for (int j = 0; j < CHUNK; ++j) v[k][j] = (v[k][j] - row.mean) * row.scale * w[j] + b[j];
    store_columns(y + chunk * CHUNK, v[k]);
  }
}

}  // namespace m2bert::ops::cuda
