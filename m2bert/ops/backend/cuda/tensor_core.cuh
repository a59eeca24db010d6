#pragma once
// Warp-wide matrix products and packed arithmetic. A word holds two float16 or bfloat16 values, the first one in its low half.
#include "m2bert/ops/backend/cuda/scalar.cuh"

// Without nvcc, tests/ops/backend/cuda/emulation.h stands for it, and defines these functions.
#ifdef __CUDACC__
#define M2BERT_SHARED_MEMORY(name) extern __shared__ __align__(16) char name[]
#endif

namespace m2bert::ops::cuda {

#ifdef __CUDACC__

// c += a b for 16 x 16 times 16 x 8; PTX's mma.m16n8k16 defines which elements a lane holds.
__device__ __forceinline__ void mma_bf16(float* c, const uint32_t* a, uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void mma_f16(float* c, const uint32_t* a, uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four matrices of 8 x 8; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrices(uint32_t* r, const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(uint32_t(__cvta_generic_to_shared(row)))
               : "memory");
}
__device__ __forceinline__ void load_transposed(uint32_t* r, const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(uint32_t(__cvta_generic_to_shared(row)))
               : "memory");
}

__device__ __forceinline__ uint32_t pack_f16(float low, float high) {
  uint32_t word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
__device__ __forceinline__ float2 unpack_f16(uint32_t word) { return __half22float2(*reinterpret_cast<const __half2*>(&word)); }
__device__ __forceinline__ uint32_t mul_f16(uint32_t a, uint32_t b) {
  uint32_t word;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(word) : "r"(a), "r"(b));
  return word;
}
__device__ __forceinline__ uint32_t fma_f16(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t word;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(word) : "r"(a), "r"(b), "r"(c));
  return word;
}
// Folds into the operation that takes it, which `negated` does not.
__device__ __forceinline__ uint32_t neg_f16(uint32_t x) {
  uint32_t word;
  asm("neg.f16x2 %0, %1;" : "=r"(word) : "r"(x));
  return word;
}
__device__ __forceinline__ uint32_t warp_max(uint32_t x) { return __reduce_max_sync(~0u, x); }

#endif

// Of all lanes.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(~0u, x, offset);
  return x;
}

// The values of a word of bfloat16.
__device__ __forceinline__ float low_bf16(uint32_t word) { return __uint_as_float(word << 16); }
__device__ __forceinline__ float high_bf16(uint32_t word) { return __uint_as_float(word & 0xffff0000u); }

__device__ __forceinline__ uint32_t negated(uint32_t word) { return word ^ 0x80008000u; }

// The smallest e with x < 2^e for x >= 0, by its bits; in [-60, 100], so that it fits a byte and 2^-e is a float.
__device__ __forceinline__ int exponent_above(uint32_t bits) { return min(max(int(bits >> 23) - 126, -60), 100); }
__device__ __forceinline__ float power_of_two(int e) { return __uint_as_float(uint32_t(max(e + 127, 0)) << 23); }

}  // namespace m2bert::ops::cuda
