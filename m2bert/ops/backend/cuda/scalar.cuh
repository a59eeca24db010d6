#pragma once
// Elements of activations, and what lets g++ compile the kernels' arithmetic, so that tests run it on a machine without a GPU.
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define M2BERT_DEVICE __host__ __device__ __forceinline__
#define M2BERT_UNROLL _Pragma("unroll")
#else
#define M2BERT_DEVICE inline
#define M2BERT_UNROLL
#endif

namespace m2bert::ops::cuda {

struct BFloat16 {
  uint16_t bits;
};

M2BERT_DEVICE float to_float(float x) { return x; }
M2BERT_DEVICE float to_float(BFloat16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float y;
  memcpy(&y, &bits, 4);
  return y;
}

template <typename T>
M2BERT_DEVICE T from_float(float x) = delete;
template <>
M2BERT_DEVICE float from_float<float>(float x) {
  return x;
}
// To nearest even.
template <>
M2BERT_DEVICE BFloat16 from_float<BFloat16>(float x) {
#ifdef __CUDA_ARCH__
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
  uint32_t bits;
  memcpy(&bits, &x, 4);
  if (x != x) return {uint16_t((bits >> 16) | 0x40)};
  return {uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
#endif
}

// The bits of the nearest float16, ties to even. Host code, for constants.
inline uint16_t half_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x7f800000) return uint16_t(sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00));
  if (magnitude >= 0x477ff000) return uint16_t(sign | 0x7c00);
  if (magnitude < 0x33000000) return uint16_t(sign);
  const int exponent = int(magnitude >> 23);
  const int shift = exponent >= 113 ? 13 : 126 - exponent;
  uint32_t value = exponent >= 113 ? magnitude - 0x38000000 : (magnitude & 0x7fffff) | 0x800000;
  const uint32_t rest = value & ((1u << shift) - 1), half = 1u << (shift - 1);
  value >>= shift;
  if (rest > half || (rest == half && (value & 1))) ++value;
  return uint16_t(sign | value);
}

// 16 bytes of elements, one load or store.
template <typename T>
struct alignas(16) Vector {
  static constexpr int size = 16 / sizeof(T);
  T values[size];
};

// Whether both may be read and written by Vectors.
M2BERT_DEVICE bool are_aligned(const void* a, const void* b) {
  return (reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b)) % 16 == 0;
}

}  // namespace m2bert::ops::cuda
