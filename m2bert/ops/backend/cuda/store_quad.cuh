#pragma once
// Stores of what a product on tensor cores leaves in a warp's registers, as tiles of mma.m16n8k16: lane q of four has positions 8 j + 2 q
// and the next one of tile j.
#include "m2bert/ops/backend/cuda/scalar.cuh"

namespace m2bert::ops::cuda {

// Word j of lane q are positions 8 j + 2 q and the next one. Lane q stores positions 8 q to 8 q + 7.
__device__ __forceinline__ void store_quad(BFloat16* to, uint32_t* words, bool exists) {
  const int lane = threadIdx.x % 32;
  auto exchange = [&](uint32_t& low, uint32_t& high, int distance) {
    const bool upper = lane & distance;
    const uint32_t received = __shfl_sync(~0u, upper ? low : high, lane ^ distance);
    (upper ? low : high) = received;
  };
  exchange(words[0], words[1], 1);
  exchange(words[2], words[3], 1);
  exchange(words[0], words[2], 2);
  exchange(words[1], words[3], 2);
  if (exists) *reinterpret_cast<uint4*>(to) = {words[0], words[1], words[2], words[3]};
}

}  // namespace m2bert::ops::cuda
