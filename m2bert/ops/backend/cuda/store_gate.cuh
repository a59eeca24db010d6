#pragma once
// The gate as the epilogue of a product on tensor cores, whose results are 16 rows by 64 positions of a warp, laid out as tiles of
// mma.m16n8k16: with g = lane / 4 and q = lane % 4, values 4 j to 4 j + 3 are positions 8 j + 2 q and the next one of row g, then of row g
// + 8.
#include "m2bert/ops/backend/cuda/gelu.cuh"

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

// h = gelu(gate) value; h: the lane's row g, from position 0 on. The results begin at position t of T, a multiple of 8.
__device__ __forceinline__ void store_gate(const float (&gate)[32], const float (&value)[32], BFloat16* h, int t, int T) {
  t += threadIdx.x % 4 * 8;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {  // of 32 positions
      uint32_t words[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int i = 4 * (4 * part + j) + 2 * half;
        words[j] = pack_bf16(gelu(gate[i]) * value[i], gelu(gate[i + 1]) * value[i + 1]);
      }
      store_quad(h + size_t(8 * half) * T + t + 32 * part, words, t + 32 * part < T);
    }
  }
}

// What the gate's gradient stores: h [I, T], and the gradients of gate and value, the halves of dg [2 I, T].
struct GateOutputs {
  BFloat16 *h, *dg;
};
struct GateGradientInputs {
  const float (&gate)[32], (&value)[32], (&dh)[32];
};
// offset: of the lane's row g in h and dg, position 0; size: I T.
__device__ __forceinline__ void store_gate_gradient(const GateGradientInputs& in, const GateOutputs& out, size_t offset, size_t size, int t,
                                                    int T) {
  t += threadIdx.x % 4 * 8;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      uint32_t h[4], da[4], db[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int i = 4 * (4 * part + j) + 2 * half;
        const auto low = gelu_with_derivative(in.gate[i]), high = gelu_with_derivative(in.gate[i + 1]);
        h[j] = pack_bf16(low.value * in.value[i], high.value * in.value[i + 1]);
        da[j] = pack_bf16(in.dh[i] * in.value[i] * low.derivative, in.dh[i + 1] * in.value[i + 1] * high.derivative);
        db[j] = pack_bf16(in.dh[i] * low.value, in.dh[i + 1] * high.value);
      }
      const size_t at = offset + size_t(8 * half) * T + t + 32 * part;
      const bool exists = t + 32 * part < T;
      store_quad(out.h + at, h, exists);
      store_quad(out.dg + at, da, exists);
      store_quad(out.dg + size + at, db, exists);
    }
  }
}

}  // namespace m2bert::ops::cuda
