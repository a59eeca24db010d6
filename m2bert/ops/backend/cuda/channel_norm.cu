// LayerNorm over the channels of channel-major activations [channel, position], with the bias and the residual before it.
//
// A block does 16 positions; a thread has 4 of them in every 128th channel. Mean and variance are sums over the block, in float. Few values
// a thread let several blocks share a multiprocessor: some load while others compute.
#include "m2bert/ops/backend/cuda/scalar.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

namespace {

constexpr int COLUMNS = 16, ROWS = 128, CHUNK = 4, THREADS = COLUMNS / CHUNK * ROWS, WARPS = THREADS / 32;

struct alignas(8) Chunk {
  BFloat16 values[CHUNK];
};

// The values of a row from `row` on, of which `count` exist.
__device__ __forceinline__ void load_chunk(const BFloat16* row, int count, bool wide, float* out) {
  if (wide && count == CHUNK) {
    const Chunk v = *reinterpret_cast<const Chunk*>(row);
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) out[i] = to_float(v.values[i]);
  } else {
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) out[i] = i < count ? to_float(row[i]) : 0.0f;
  }
}

// The sums of each of the values over the rows of the block. sums: [WARPS][COLUMNS] of shared memory that nothing else uses.
__device__ __forceinline__ void sum_rows(float* values, float (*sums)[COLUMNS], int column) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int distance = COLUMNS / CHUNK; distance < 32; distance *= 2) {
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) {
      values[i] += __uint_as_float(__shfl_sync(~0u, __float_as_uint(values[i]), lane ^ distance));
    }
  }
  if (lane < COLUMNS / CHUNK) {
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) sums[threadIdx.x / 32][column + i] = values[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < CHUNK; ++i) values[i] = 0;
#pragma unroll
  for (int warp = 0; warp < WARPS; ++warp) {
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) values[i] += sums[warp][column + i];
  }
}

// PASSES: a thread keeps that many chunks in registers, for up to 128 PASSES channels; 0: it reads them again, for any number.
template <int PASSES>
__device__ __forceinline__ void norm(const BFloat16* x, const BFloat16* residual, const float* bias, const float* weight,
                                     const float* norm_bias, BFloat16* y, int H, int T, float eps) {
  M2BERT_SHARED_MEMORY(shared_memory);
  auto* sums = reinterpret_cast<float(*)[COLUMNS]>(shared_memory);
  const int row = threadIdx.x / (COLUMNS / CHUNK), column = threadIdx.x % (COLUMNS / CHUNK) * CHUNK;
  const int t = blockIdx.x * COLUMNS + column, count = max(0, min(CHUNK, T - t));
  const bool wide = T % CHUNK == 0;
  float kept[PASSES > 0 ? PASSES : 1][CHUNK];
  auto load = [&](int h, float* out) {
    float other[CHUNK];
    load_chunk(x + size_t(h) * T + t, count, wide, out);
    load_chunk(residual + size_t(h) * T + t, count, wide, other);
    const float b = bias[h];
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) out[i] += other[i] + b;
  };
  // f(h, values) for each channel of this thread.
  auto each = [&](bool first, auto f) {
    if constexpr (PASSES > 0) {
#pragma unroll
      for (int k = 0; k < PASSES; ++k) {
        const int h = row + k * ROWS;
        if (h >= H) continue;
        if (first) load(h, kept[k]);
        f(h, kept[k]);
      }
    } else {
      for (int h = row; h < H; h += ROWS) {
        load(h, kept[0]);
        f(h, kept[0]);
      }
    }
  };
  float mean[CHUNK] = {}, scale[CHUNK] = {};
  each(true, [&](int, const float* v) {
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) mean[i] += v[i];
  });
  sum_rows(mean, sums, column);
#pragma unroll
  for (int i = 0; i < CHUNK; ++i) mean[i] /= float(H);
  each(false, [&](int, const float* v) {
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) scale[i] += (v[i] - mean[i]) * (v[i] - mean[i]);
  });
  sum_rows(scale, sums + WARPS, column);
#pragma unroll
  for (int i = 0; i < CHUNK; ++i) scale[i] = rsqrtf(scale[i] / float(H) + eps);
  each(false, [&](int h, const float* v) {
    const float w = weight[h], b = norm_bias[h];
    Chunk out;
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) out.values[i] = from_float<BFloat16>((v[i] - mean[i]) * scale[i] * w + b);
    BFloat16* to = y + size_t(h) * T + t;
    if (wide && count == CHUNK) {
      *reinterpret_cast<Chunk*>(to) = out;
    } else {
#pragma unroll
      for (int i = 0; i < CHUNK; ++i) {
        if (i < count) to[i] = out.values[i];
      }
    }
  });
}

}  // namespace

// y = norm(x + bias + residual) * weight + norm_bias; x, residual, y [H, T], the rest [H]. Grid: blocks of 16 positions, 512 threads;
// 2 KiB of shared memory. channel_norm_768 is for up to 768 channels.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    channel_norm_768(const BFloat16* x, const BFloat16* residual, const float* bias, const float* weight, const float* norm_bias,
                     BFloat16* y, int H, int T, float eps) {
  norm<6>(x, residual, bias, weight, norm_bias, y, H, T, eps);
}
extern "C" __global__ void __launch_bounds__(THREADS)
    channel_norm(const BFloat16* x, const BFloat16* residual, const float* bias, const float* weight, const float* norm_bias, BFloat16* y,
                 int H, int T, float eps) {
  norm<0>(x, residual, bias, weight, norm_bias, y, H, T, eps);
}

}  // namespace m2bert::ops::cuda
