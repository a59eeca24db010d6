#pragma once
// Eight neighbouring positions of a channel, what a thread reads and writes at a time.
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

constexpr int CHUNK = 8;
using Chunk = Vector<BFloat16>;

// Of the chunk, `count` positions exist; what does not is read as 0 and not written. ALIGNED: rows are multiples of a chunk, so that a
// chunk is aligned and is there as a whole or not at all.
template <bool ALIGNED>
__device__ __forceinline__ Chunk load_chunk(const BFloat16* from, int count) {
  Chunk v = {};
  if constexpr (ALIGNED) {
    if (count > 0) v = *reinterpret_cast<const Chunk*>(from);
  } else {
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) {
      if (i < count) v.values[i] = from[i];
    }
  }
  return v;
}
template <bool ALIGNED>
__device__ __forceinline__ void store_chunk(BFloat16* to, int count, const Chunk& v) {
  if constexpr (ALIGNED) {
    if (count > 0) *reinterpret_cast<Chunk*>(to) = v;
  } else {
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) {
      if (i < count) to[i] = v.values[i];
    }
  }
}

__device__ __forceinline__ void unpack(Chunk v, float* out) {
#pragma unroll
  for (int i = 0; i < CHUNK; ++i) out[i] = to_float(v.values[i]);
}
__device__ __forceinline__ Chunk pack(const float* values) {
  Chunk v;
#pragma unroll
  for (int i = 0; i < CHUNK; ++i) v.values[i] = from_float<BFloat16>(values[i]);
  return v;
}

// The sum of a value over each LANES neighbouring lanes.
template <int LANES>
__device__ __forceinline__ float sum_lanes(float value) {
#pragma unroll
  for (int distance = 1; distance < LANES; distance *= 2) {
    value += __uint_as_float(__shfl_sync(~0u, __float_as_uint(value), int(threadIdx.x % 32) ^ distance));
  }
  return value;
}

}  // namespace m2bert::ops::cuda
