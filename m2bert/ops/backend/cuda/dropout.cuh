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

struct Dropout {
  const uint32_t* key;  // [2]
  uint32_t threshold;
  float scale;  // of what is kept
};

// The factors of values with consecutive indices: the constants of a line are computed once.
class DropoutFactors {
 public:
  __device__ __forceinline__ float operator()(const Dropout& dropout, uint64_t index, bool first) {
    const uint32_t place = uint32_t(index % kDropoutLine);
    if (first || place == 0) {
      const uint32_t line = uint32_t(index / kDropoutLine);
      first_ = hash_mix(dropout.key[0] + line);
      step_ = hash_mix(dropout.key[1] + line) | 1;
    }
    return hash_mix(place * step_ + first_) >= dropout.threshold ? dropout.scale : 0.0f;
  }

 private:
  uint32_t first_ = 0, step_ = 0;
};

}  // namespace m2bert::ops::cuda
