#pragma once
// Dropout inside a kernel: what dropout_mask.h defines.
#include "m2bert/ops/backend/cuda/tensor_core.cuh"
#include "m2bert/ops/dropout_mask.h"

namespace m2bert::ops::cuda {

// See hash.h.
__device__ __forceinline__ uint32_t hash_mix(uint32_t x) {
  x = (x ^ x >> 16) * 0x85ebca6bu;
  x = (x ^ x >> 13) * 0xc2b2ae35u;
  return x ^ x >> 16;
}

// A value under its factor: one that is dropped is 0, even NaN.
__device__ __forceinline__ float dropped(float value, float factor) { return factor == 0 ? 0.0f : value * factor; }

struct Dropout {
  const uint32_t* key;  // [2]
  uint32_t threshold;
  float scale;  // of what is kept
};

// The factors of values with consecutive indices, from `index` on: the constants of a line are computed once.
class DropoutLine {
 public:
  DropoutLine() = default;
  __device__ __forceinline__ DropoutLine(const Dropout& dropout, uint64_t index)
      : place_(uint32_t(index % kDropoutLine)), line_(uint32_t(index / kDropoutLine)) {
    begin(dropout);
  }
  __device__ __forceinline__ float next(const Dropout& dropout) {
    if (place_ == kDropoutLine) {
      place_ = 0, ++line_;
      begin(dropout);
    }
    return hash_mix(place_++ * step_ + first_) >= dropout.threshold ? dropout.scale : 0.0f;
  }

 private:
  __device__ __forceinline__ void begin(const Dropout& dropout) {
    first_ = hash_mix(dropout.key[0] + line_);
    step_ = hash_mix(dropout.key[1] + line_) | 1;
  }
  uint32_t place_ = 0, line_ = 0, first_ = 0, step_ = 0;
};

}  // namespace m2bert::ops::cuda
