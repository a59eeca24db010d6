#pragma once
// The gate as the epilogue of a product on tensor cores, whose results are 16 rows by 64 positions of a warp, laid out as tiles of
// mma.m16n8k16: with g = lane / 4 and q = lane % 4, values 4 j to 4 j + 3 are positions 8 j + 2 q and the next one of row g, then of row g
// + 8.
#include "m2bert/ops/backend/cuda/dropout.cuh"
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

// The dropout factors of such a tile, where h counts as [T, I]. The 16 rows of a position are in one line, so its constants are those of a
// line; lane (g, q) computes them for positions 8 g + 2 q and the next one.
template <bool DROPOUT>
class TileFactors {
 public:
  // row: the first of the 16 in h, a multiple of 16, as is I; t: the first position.
  __device__ __forceinline__ TileFactors(const Dropout& dropout, int row, int t, int I) : dropout_(dropout) {
    if constexpr (!DROPOUT) return;
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const uint64_t index = uint64_t(t + lane / 4 * 8 + lane % 4 * 2 + e) * I + row;
      const uint32_t line = uint32_t(index / kDropoutLine);
      step_[e] = hash_mix(dropout.key[1] + line) | 1;
      base_[e] = hash_mix(dropout.key[0] + line) + uint32_t(index % kDropoutLine + lane / 4) * step_[e];
    }
  }
  // For positions 8 j + 2 q and the next one.
  struct Pair {
    uint32_t base[2], step[2];
  };
  __device__ __forceinline__ Pair positions(int j) const {
    Pair pair;
    const int lane = threadIdx.x % 32, from = 4 * j + lane % 4;
#pragma unroll
    for (int e = 0; e < 2 && DROPOUT; ++e) {
      pair.step[e] = __shfl_sync(~0u, step_[e], from);
      // The sender has added its own row, j, in place of this lane's.
      pair.base[e] = __shfl_sync(~0u, base_[e], from) + uint32_t(lane / 4 - j) * pair.step[e];
    }
    return pair;
  }
  // Of one of the two, in row g (half 0) or g + 8.
  __device__ __forceinline__ float factor(const Pair& pair, int e, int half) const {
    if constexpr (!DROPOUT) return 1;
    return hash_mix(pair.base[e] + 8 * half * pair.step[e]) >= dropout_.threshold ? dropout_.scale : 0.0f;
  }

 private:
  const Dropout& dropout_;
  uint32_t base_[2] = {}, step_[2] = {};
};

// h = dropout(gelu(gate) value); h: the lane's row g, from position 0 on. The results begin at position t of T, a multiple of 8.
template <bool DROPOUT>
__device__ __forceinline__ void store_gate(const float (&gate)[32], const float (&value)[32], const TileFactors<DROPOUT>& dropout,
                                           BFloat16* h, int t, int T) {
  t += threadIdx.x % 4 * 8;
#pragma unroll
  for (int part = 0; part < 2; ++part) {  // of 32 positions
    uint32_t words[2][4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const auto pair = dropout.positions(4 * part + j);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int i = 4 * (4 * part + j) + 2 * half;
        float low = gelu(gate[i]) * value[i], high = gelu(gate[i + 1]) * value[i + 1];
        if (DROPOUT) low = dropped(low, dropout.factor(pair, 0, half)), high = dropped(high, dropout.factor(pair, 1, half));
        words[half][j] = pack_bf16(low, high);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) store_quad(h + size_t(8 * half) * T + t + 32 * part, words[half], t + 32 * part < T);
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
template <bool DROPOUT>
__device__ __forceinline__ void store_gate_gradient(const GateGradientInputs& in, const TileFactors<DROPOUT>& dropout,
                                                    const GateOutputs& out, size_t offset, size_t size, int t, int T) {
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
        float h_low = low.value * in.value[i], h_high = high.value * in.value[i + 1], d_low = in.dh[i], d_high = in.dh[i + 1];
        if (DROPOUT) {
          const auto pair = dropout.positions(4 * part + j);  // once more for each half: there are no registers to keep it
          const float of_low = dropout.factor(pair, 0, half), of_high = dropout.factor(pair, 1, half);
          h_low = dropped(h_low, of_low), d_low = dropped(d_low, of_low);
          h_high = dropped(h_high, of_high), d_high = dropped(d_high, of_high);
        }
        h[j] = pack_bf16(h_low, h_high);
        da[j] = pack_bf16(d_low * in.value[i] * low.derivative, d_high * in.value[i + 1] * high.derivative);
        db[j] = pack_bf16(d_low * low.value, d_high * high.value);
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
