// h = dropout(gelu(a) * b) for the two halves a, b of a channel-major array [2 I, T], and its gradient.
//
// A warp does 256 positions of ROWS channels.
#include "m2bert/ops/backend/cuda/chunk.cuh"
#include "m2bert/ops/backend/cuda/dropout.cuh"
#include "m2bert/ops/backend/cuda/gelu.cuh"

namespace m2bert::ops::cuda {

namespace {

constexpr int GATE_ROWS = 4, GATE_THREADS = 256;

// f(offset in [I, T], existing positions, their dropout factors) for the chunks of this thread.
template <bool DROPOUT, typename F>
__device__ __forceinline__ void each_chunk(int I, int T, const Dropout& dropout, F f) {
  const int t = (blockIdx.x * 32 + threadIdx.x % 32) * CHUNK, count = min(CHUNK, T - t);
  if (count <= 0) return;
  const int first = (blockIdx.y * (GATE_THREADS / 32) + threadIdx.x / 32) * GATE_ROWS;
  DropoutLine lines[DROPOUT ? CHUNK : 1];
  if constexpr (DROPOUT) {
#pragma unroll
    for (int j = 0; j < CHUNK; ++j) lines[j] = DropoutLine(dropout, uint64_t(t + j) * I + first);
  }
#pragma unroll 1
  for (int k = 0; k < GATE_ROWS; ++k) {
    if (first + k >= I) break;
    float factor[CHUNK];
    if constexpr (DROPOUT) {
#pragma unroll
      for (int j = 0; j < CHUNK; ++j) factor[j] = lines[j].next(dropout);
    }
    f(size_t(first + k) * T + t, count, factor);
  }
}

template <bool DROPOUT, bool ALIGNED>
__device__ __forceinline__ void gate(const BFloat16* x, BFloat16* h, int I, int T, const Dropout& dropout) {
  const size_t half = size_t(I) * T;
  each_chunk<DROPOUT>(I, T, dropout, [&](size_t at, int count, const float* factor) {
    float a[CHUNK], b[CHUNK];
    unpack(load_chunk<ALIGNED>(x + at, count), a);
    unpack(load_chunk<ALIGNED>(x + half + at, count), b);
#pragma unroll
    for (int j = 0; j < CHUNK; ++j) {
      a[j] = gelu(a[j]) * b[j];
      if (DROPOUT) a[j] = dropped(a[j], factor[j]);
    }
    store_chunk<ALIGNED>(h + at, count, pack(a));
  });
}

template <bool DROPOUT, bool ALIGNED>
__device__ __forceinline__ void gate_gradient(const BFloat16* x, const BFloat16* dh, BFloat16* dx, BFloat16* h, int I, int T,
                                              const Dropout& dropout) {
  const size_t half = size_t(I) * T;
  each_chunk<DROPOUT>(I, T, dropout, [&](size_t at, int count, const float* factor) {
    float a[CHUNK], b[CHUNK], d[CHUNK];
    unpack(load_chunk<ALIGNED>(x + at, count), a);
    unpack(load_chunk<ALIGNED>(x + half + at, count), b);
    unpack(load_chunk<ALIGNED>(dh + at, count), d);
    float result[CHUNK];
#pragma unroll
    for (int j = 0; j < CHUNK; ++j) {
      const auto [value, derivative] = gelu_with_derivative(a[j]);
      result[j] = value * b[j];
      if (DROPOUT) result[j] = dropped(result[j], factor[j]), d[j] = dropped(d[j], factor[j]);
      a[j] = d[j] * b[j] * derivative;
      b[j] = d[j] * value;
    }
    store_chunk<ALIGNED>(h + at, count, pack(result));
    store_chunk<ALIGNED>(dx + at, count, pack(a));
    store_chunk<ALIGNED>(dx + half + at, count, pack(b));
  });
}

template <bool DROPOUT>
__device__ __forceinline__ void gate(const BFloat16* x, BFloat16* h, int I, int T, const Dropout& dropout) {
  T % CHUNK == 0 ? gate<DROPOUT, true>(x, h, I, T, dropout) : gate<DROPOUT, false>(x, h, I, T, dropout);
}
template <bool DROPOUT>
__device__ __forceinline__ void gate_gradient(const BFloat16* x, const BFloat16* dh, BFloat16* dx, BFloat16* h, int I, int T,
                                              const Dropout& dropout) {
  T % CHUNK == 0 ? gate_gradient<DROPOUT, true>(x, dh, dx, h, I, T, dropout) : gate_gradient<DROPOUT, false>(x, dh, dx, h, I, T, dropout);
}

}  // namespace

// GATE_KERNELS chooses which of the kernels are compiled; without it, all.
#if !defined(GATE_KERNELS) || GATE_KERNELS == 0
// x [2 I, T], h [I, T]. Grid: 256 positions by 32 channels, 256 threads.
extern "C" __global__ void __launch_bounds__(GATE_THREADS) gelu_gate(const BFloat16* x, BFloat16* h, int I, int T) {
  gate<false>(x, h, I, T, {});
}
#endif

#if !defined(GATE_KERNELS) || GATE_KERNELS == 1
// With dropout, which counts the values of h as [T, I]. See dropout_mask.h for key [2] and threshold; scale is 1 / (1 - p).
extern "C" __global__ void __launch_bounds__(GATE_THREADS)
    gelu_gate_dropout(const BFloat16* x, const uint32_t* key, BFloat16* h, int I, int T, int threshold, float scale) {
  gate<true>(x, h, I, T, {key, uint32_t(threshold), scale});
}
#endif

#if !defined(GATE_KERNELS) || GATE_KERNELS == 2
// dh [I, T]: the gradient of h. dx [2 I, T], and h once more.
extern "C" __global__ void __launch_bounds__(GATE_THREADS)
    gelu_gate_gradient(const BFloat16* x, const BFloat16* dh, BFloat16* dx, BFloat16* h, int I, int T) {
  gate_gradient<false>(x, dh, dx, h, I, T, {});
}
extern "C" __global__ void __launch_bounds__(GATE_THREADS)
    gelu_gate_gradient_dropout(const BFloat16* x, const BFloat16* dh, const uint32_t* key, BFloat16* dx, BFloat16* h, int I, int T,
                               int threshold, float scale) {
  gate_gradient<true>(x, dh, dx, h, I, T, {key, uint32_t(threshold), scale});
}
#endif

}  // namespace m2bert::ops::cuda
