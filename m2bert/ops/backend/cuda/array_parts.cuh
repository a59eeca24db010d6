#pragma once
// For kernels that do several arrays in a launch (array_parts.h).
#include "m2bert/ops/backend/cuda/array_parts.h"
#include "m2bert/ops/backend/cuda/numbered.cuh"

namespace m2bert::ops::cuda {

// What a block does: elements first ... first + count - 1 of an array. `part` counts the parts of this array and of those behind it.
struct ArrayPart {
  int part, n;

  __device__ __forceinline__ bool is_behind() const { return part >= parts_of(n); }
  __device__ __forceinline__ void skip(int next) { part -= parts_of(n), n = next; }
  __device__ __forceinline__ int64_t first() const { return int64_t(part) * ARRAY_PART; }
  __device__ __forceinline__ int count() const { return int(n - first() < ARRAY_PART ? n - first() : ARRAY_PART); }
};

// Four neighbouring elements, of which `count` exist; what does not is 0 and not stored. wide: they are aligned.
__device__ __forceinline__ void load_four(const float* x, int count, bool wide, float* out) {
  if (wide && count >= 4) {
    const float4 v = *reinterpret_cast<const float4*>(x);
    out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = i < count ? x[i] : 0.0f;
  }
}
__device__ __forceinline__ void store_four(float* x, int count, bool wide, const float* values) {
  if (wide && count >= 4) {
    *reinterpret_cast<float4*>(x) = {values[0], values[1], values[2], values[3]};
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < count) x[i] = values[i];
    }
  }
}
__device__ __forceinline__ void load_four(const BFloat16* x, int count, bool wide, float* out) {
  if (wide && count >= 4) {
    const uint2 v = *reinterpret_cast<const uint2*>(x);
    const uint32_t words[2] = {v.x, v.y};
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = to_float(BFloat16{uint16_t(words[i / 2] >> 16 * (i % 2))});
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = i < count ? to_float(x[i]) : 0.0f;
  }
}
__device__ __forceinline__ void store_four(BFloat16* x, int count, bool wide, const float* values) {
  BFloat16 narrow[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) narrow[i] = from_float<BFloat16>(values[i]);
  if (wide && count >= 4) {
    uint32_t words[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) words[i] = narrow[2 * i].bits | uint32_t(narrow[2 * i + 1].bits) << 16;
    *reinterpret_cast<uint2*>(x) = {words[0], words[1]};
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < count) x[i] = narrow[i];
    }
  }
}

// f(i, count) for a thread's groups of four of `count` elements: the group's first, and how many of it exist.
template <typename F>
__device__ __forceinline__ void each_four(int count, F f) {
#pragma unroll 2
  for (int i = 4 * int(threadIdx.x); i < count; i += 4 * PART_THREADS) f(i, count - i);
}

}  // namespace m2bert::ops::cuda
