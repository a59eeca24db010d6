// LayerNorm over the channels of channel-major activations [channel, position], with the bias and the residual before it, and its gradient.
//
// A block does COLUMNS positions at a time; a thread has 8 of them in every ROWS-th channel. Copies to shared memory bring the tile of both
// inputs, and a thread reads what it copied itself: it needs no barrier for that, and can ask for the next tile's row as soon as it has
// used this one's. Mean and variance are sums over the block, in float.
#include "m2bert/ops/backend/cuda/async_copy.cuh"
#include "m2bert/ops/backend/cuda/chunk.cuh"

namespace m2bert::ops::cuda {

namespace {

constexpr int NORM_THREADS = 256, NORM_WARPS = NORM_THREADS / 32;

// The positions and channels of a thread: `column` in the tile, channels row, row + ROWS, ... ALIGNED: T is a multiple of 8, so that a
// chunk is aligned and is there as a whole or not at all.
template <int COLUMNS, bool ALIGNED>
struct NormTile {
  static constexpr int LANES = COLUMNS / CHUNK, ROWS = NORM_THREADS / LANES;
  int H, T, row, column, t, count;  // position t is the thread's first one in the tile, count of them exist

  __device__ __forceinline__ NormTile(int H, int T) : H(H), T(T), row(threadIdx.x / LANES), column(threadIdx.x % LANES * CHUNK) {}
  __device__ __forceinline__ void move_to(int tile) {
    t = tile * COLUMNS + column;
    count = max(0, min(CHUNK, T - t));
  }
  __device__ __forceinline__ Chunk* shared(char* memory, int h) const {
    return reinterpret_cast<Chunk*>(memory) + (h * LANES + column / CHUNK);
  }
  __device__ __forceinline__ size_t offset(int h) const { return size_t(h) * T + t; }

  // Starts copying channel h. What does not exist is 0.
  __device__ __forceinline__ void copy(const BFloat16* x, char* memory, int h) const {
    Chunk* to = shared(memory, h);
    const BFloat16* from = x + offset(h);
    if constexpr (ALIGNED) {
      copy_async(to, count > 0 ? from : x, count > 0);
    } else {
      *to = load_chunk<false>(from, count);
    }
  }
  __device__ __forceinline__ void store(BFloat16* y, int h, const float* values) const {
    store_chunk<ALIGNED>(y + offset(h), count, pack(values));
  }
  // One value for each position.
  __device__ __forceinline__ void load(const float* x, float* values) const {
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) values[i] = i < count ? x[t + i] : 0.0f;
  }
  __device__ __forceinline__ void store(float* x, const float* values) const {
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) {
      if (i < count) x[t + i] = values[i];
    }
  }
};

// The sums of each of the values over the rows of the block. sums: [WARPS][VALUES][COLUMNS] of shared memory that nothing else uses.
template <int COLUMNS, int VALUES>
__device__ __forceinline__ void sum_rows(float (*values)[CHUNK], float* sums, int column) {
  constexpr int LANES = COLUMNS / CHUNK;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < VALUES; ++k) {
#pragma unroll
    for (int distance = LANES; distance < 32; distance *= 2) {
#pragma unroll
      for (int i = 0; i < CHUNK; ++i) {
        values[k][i] += __uint_as_float(__shfl_sync(~0u, __float_as_uint(values[k][i]), lane ^ distance));
      }
    }
    if (lane < LANES) {
#pragma unroll
      for (int i = 0; i < CHUNK; ++i) sums[(threadIdx.x / 32 * VALUES + k) * COLUMNS + column + i] = values[k][i];
    }
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < VALUES; ++k) {
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) values[k][i] = 0;
#pragma unroll 2
    for (int warp = 0; warp < NORM_WARPS; ++warp) {
#pragma unroll
      for (int i = 0; i < CHUNK; ++i) values[k][i] += sums[(warp * VALUES + k) * COLUMNS + column + i];
    }
  }
}

struct NormInputs {
  const BFloat16 *x, *residual;            // [H, T]
  const float *bias, *weight, *norm_bias;  // [H]
};

// Shared memory: two tiles of H COLUMNS values, then four times [WARPS][COLUMNS] sums.
template <int COLUMNS, bool SAVE, bool ALIGNED>
__device__ __forceinline__ void norm_of(const NormInputs& in, BFloat16* y, BFloat16* sum, float* statistics, int H, int T, float eps) {
  M2BERT_SHARED_MEMORY(shared_memory);
  char *const x_tile = shared_memory, *const residual_tile = shared_memory + size_t(H) * COLUMNS * 2;
  float* const sums = reinterpret_cast<float*>(shared_memory + size_t(H) * COLUMNS * 4);
  using Tile = NormTile<COLUMNS, ALIGNED>;
  Tile tile(H, T);
  constexpr int ROWS = Tile::ROWS;
  [[maybe_unused]] constexpr int UNROLL = ALIGNED ? 2 : 1;
  const int tiles = (T + COLUMNS - 1) / COLUMNS;
  auto copy = [&](int h) {
    tile.copy(in.x, x_tile, h);
    tile.copy(in.residual, residual_tile, h);
  };
  tile.move_to(blockIdx.x);
#pragma unroll UNROLL
  for (int h = tile.row; h < H; h += ROWS) copy(h);
  int parity = 0;  // of the tile: the next one's sums have a place of their own
  for (int now = blockIdx.x; now < tiles; now += gridDim.x, parity ^= 1) {
    commit_copies();
    wait_for_copies<0>();
    auto load = [&](int h, float* v) {
      float other[CHUNK];
      unpack(*tile.shared(x_tile, h), v);
      unpack(*tile.shared(residual_tile, h), other);
      const float b = __ldg(in.bias + h);
#pragma unroll
      for (int i = 0; i < CHUNK; ++i) v[i] += other[i] + b;
    };
    float mean[1][CHUNK] = {}, scale[1][CHUNK] = {}, v[CHUNK];
#pragma unroll UNROLL
    for (int h = tile.row; h < H; h += ROWS) {
      load(h, v);
#pragma unroll
      for (int i = 0; i < CHUNK; ++i) mean[0][i] += v[i];
    }
    sum_rows<COLUMNS, 1>(mean, sums + (2 * parity) * NORM_WARPS * COLUMNS, tile.column);
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) mean[0][i] *= 1.0f / float(H);
#pragma unroll UNROLL
    for (int h = tile.row; h < H; h += ROWS) {
      load(h, v);
#pragma unroll
      for (int i = 0; i < CHUNK; ++i) scale[0][i] += (v[i] - mean[0][i]) * (v[i] - mean[0][i]);
    }
    sum_rows<COLUMNS, 1>(scale, sums + (2 * parity + 1) * NORM_WARPS * COLUMNS, tile.column);
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) scale[0][i] = rsqrtf(scale[0][i] * (1.0f / float(H)) + eps);
    if (SAVE && tile.row == 0) {
      tile.store(statistics, mean[0]);
      tile.store(statistics + T, scale[0]);
    }
    const Tile here = tile;
    const bool more = now + int(gridDim.x) < tiles;
    if (more) tile.move_to(now + gridDim.x);
#pragma unroll UNROLL
    for (int h = tile.row; h < H; h += ROWS) {
      load(h, v);
      if (SAVE) here.store(sum, h, v);
      if (more) copy(h);
      const float w = __ldg(in.weight + h), b = __ldg(in.norm_bias + h);
#pragma unroll
      for (int i = 0; i < CHUNK; ++i) v[i] = (v[i] - mean[0][i]) * scale[0][i] * w + b;
      here.store(y, h, v);
    }
  }
}

template <int COLUMNS, bool SAVE>
__device__ __forceinline__ void norm(const NormInputs& in, BFloat16* y, BFloat16* sum, float* statistics, int H, int T, float eps) {
  if (T % CHUNK == 0) {
    norm_of<COLUMNS, SAVE, true>(in, y, sum, statistics, H, T, eps);
  } else {
    norm_of<COLUMNS, SAVE, false>(in, y, sum, statistics, H, T, eps);
  }
}

// Up to 768 channels, all in registers, of a multiple of 8 positions: every load is on its way before the first value is used. Shared
// memory: twice [8][32] sums.
template <bool SAVE>
struct RegisterNorm {
  static constexpr int COLUMNS = 32, LANES = COLUMNS / CHUNK, ROWS = NORM_THREADS / LANES, PASSES = 12;

  static __device__ __forceinline__ void run(const NormInputs& in, BFloat16* y, BFloat16* sum, float* statistics, int H, int T, float eps) {
    M2BERT_SHARED_MEMORY(shared_memory);
    float* const sums = reinterpret_cast<float*>(shared_memory);
    const int row = threadIdx.x / LANES, column = threadIdx.x % LANES * CHUNK, t = blockIdx.x * COLUMNS + column;
    auto offset = [&](int h) { return unsigned(h) * unsigned(T) + unsigned(t); };
    auto vector = [&](const BFloat16* x, int h) { return *reinterpret_cast<const uint4*>(x + offset(h)); };
    uint4 x[PASSES] = {}, residual[PASSES] = {};
#pragma unroll
    for (int k = 0; k < PASSES; ++k) {
      const int h = row + k * ROWS;
      if (t < T && h < H) x[k] = vector(in.x, h), residual[k] = vector(in.residual, h);
    }
    float v[PASSES][CHUNK], mean[1][CHUNK] = {}, scale[1][CHUNK] = {};
#pragma unroll
    for (int k = 0; k < PASSES; ++k) {
      const int h = row + k * ROWS;
      const float b = h < H ? __ldg(in.bias + h) : 0.0f;
      const uint32_t a[4] = {x[k].x, x[k].y, x[k].z, x[k].w}, r[4] = {residual[k].x, residual[k].y, residual[k].z, residual[k].w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        v[k][2 * i] = low_bf16(a[i]) + low_bf16(r[i]) + b;
        v[k][2 * i + 1] = high_bf16(a[i]) + high_bf16(r[i]) + b;
      }
#pragma unroll
      for (int i = 0; i < CHUNK; ++i) mean[0][i] += v[k][i];
    }
    sum_rows<COLUMNS, 1>(mean, sums, column);
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) mean[0][i] *= 1.0f / float(H);
    const bool saves = SAVE && row == 0 && t < T;
    if (saves) save(statistics + t, mean[0]);
#pragma unroll
    for (int k = 0; k < PASSES; ++k) {
      const int h = row + k * ROWS;
      if (h >= H) continue;
      if (SAVE && t < T) *reinterpret_cast<Chunk*>(sum + offset(h)) = pack(v[k]);
#pragma unroll
      for (int i = 0; i < CHUNK; ++i) {
        v[k][i] -= mean[0][i];
        scale[0][i] += v[k][i] * v[k][i];
      }
    }
    sum_rows<COLUMNS, 1>(scale, sums + NORM_WARPS * COLUMNS, column);
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) scale[0][i] = rsqrtf(scale[0][i] * (1.0f / float(H)) + eps);
    if (saves) save(statistics + T + t, scale[0]);
#pragma unroll
    for (int k = 0; k < PASSES; ++k) {
      const int h = row + k * ROWS;
      if (t >= T || h >= H) continue;
      const float w = __ldg(in.weight + h), b = __ldg(in.norm_bias + h);
#pragma unroll
      for (int i = 0; i < CHUNK; ++i) v[k][i] = v[k][i] * scale[0][i] * w + b;
      *reinterpret_cast<Chunk*>(y + offset(h)) = pack(v[k]);
    }
  }

  static __device__ __forceinline__ void save(float* to, const float* values) {
    reinterpret_cast<float4*>(to)[0] = {values[0], values[1], values[2], values[3]};
    reinterpret_cast<float4*>(to)[1] = {values[4], values[5], values[6], values[7]};
  }
};

struct NormGradientInputs {
  const BFloat16 *dy, *sum;  // [H, T]
  const float* statistics;   // [2, T]
  const float* weight;       // [H]
};

// Shared memory: two tiles of H COLUMNS values, four times [WARPS][COLUMNS] sums, and [3][H] sums over the positions of the block.
template <int COLUMNS, bool ALIGNED>
__device__ __forceinline__ void gradient_of(const NormGradientInputs& in, BFloat16* dx, float* partial, int H, int T) {
  M2BERT_SHARED_MEMORY(shared_memory);
  char *const dy_tile = shared_memory, *const sum_tile = shared_memory + size_t(H) * COLUMNS * 2;
  float* const sums = reinterpret_cast<float*>(shared_memory + size_t(H) * COLUMNS * 4);
  float* const channels = sums + 4 * NORM_WARPS * COLUMNS;
  using Tile = NormTile<COLUMNS, ALIGNED>;
  Tile tile(H, T);
  constexpr int ROWS = Tile::ROWS, LANES = Tile::LANES;
  [[maybe_unused]] constexpr int UNROLL = ALIGNED ? 2 : 1;
  const int tiles = (T + COLUMNS - 1) / COLUMNS;
  const bool owner = threadIdx.x % LANES == 0;  // of its channels' sums
  auto copy = [&](int h) {
    tile.copy(in.dy, dy_tile, h);
    tile.copy(in.sum, sum_tile, h);
  };
  // Every lane of a row takes part; channels that do not exist are left out by all of its lanes.
  auto add_to_channel = [&](int which, int h, float value) {
    value = sum_lanes<LANES>(value);
    if (owner && h < H) channels[which * H + h] += value;
  };
  tile.move_to(blockIdx.x);
#pragma unroll UNROLL
  for (int h = tile.row; h < H; h += ROWS) copy(h);
  for (int h = tile.row; h < H; h += ROWS) {
    if (owner) channels[h] = channels[H + h] = channels[2 * H + h] = 0;
  }
  int parity = 0;
  for (int now = blockIdx.x; now < tiles; now += gridDim.x, parity ^= 1) {
    float mean[CHUNK], scale[CHUNK];
    tile.load(in.statistics, mean);
    tile.load(in.statistics + T, scale);
    commit_copies();
    wait_for_copies<0>();
    // dy and the normalized input of channel h.
    auto load = [&](int h, float* dy, float* normalized) {
      unpack(*tile.shared(dy_tile, h), dy);
      unpack(*tile.shared(sum_tile, h), normalized);
#pragma unroll
      for (int i = 0; i < CHUNK; ++i) normalized[i] = (normalized[i] - mean[i]) * scale[i];
    };
    float means[2][CHUNK] = {};  // over the channels, of weight dy and of weight dy normalized
#pragma unroll UNROLL
    for (int first = 0; first < H; first += ROWS) {
      const int h = first + tile.row;
      float weight_gradient = 0, bias_gradient = 0;
      if (h < H) {
        float dy[CHUNK], normalized[CHUNK];
        load(h, dy, normalized);
        const float w = __ldg(in.weight + h);
#pragma unroll
        for (int i = 0; i < CHUNK; ++i) {
          const float product = dy[i] * normalized[i];
          bias_gradient += dy[i];
          weight_gradient += product;
          means[0][i] += w * dy[i];
          means[1][i] += w * product;
        }
      }
      add_to_channel(0, h, weight_gradient);
      add_to_channel(1, h, bias_gradient);
    }
    sum_rows<COLUMNS, 2>(means, sums + 2 * parity * NORM_WARPS * COLUMNS, tile.column);
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) {
      means[0][i] *= 1.0f / float(H);
      means[1][i] *= 1.0f / float(H);
    }
    const Tile here = tile;
    const bool more = now + int(gridDim.x) < tiles;
    if (more) tile.move_to(now + gridDim.x);
#pragma unroll UNROLL
    for (int first = 0; first < H; first += ROWS) {
      const int h = first + tile.row;
      float bias_gradient = 0;
      if (h < H) {
        float dy[CHUNK], normalized[CHUNK];
        load(h, dy, normalized);
        if (more) copy(h);
        const float w = __ldg(in.weight + h);
#pragma unroll
        for (int i = 0; i < CHUNK; ++i) {
          dy[i] = scale[i] * (w * dy[i] - means[0][i] - normalized[i] * means[1][i]);
          bias_gradient += dy[i];
        }
        here.store(dx, h, dy);
      }
      add_to_channel(2, h, bias_gradient);
    }
  }
  if (!owner) return;
  for (int k = 0; k < 3; ++k) {
    for (int h = tile.row; h < H; h += ROWS) partial[(size_t(blockIdx.x) * 3 + k) * H + h] = channels[k * H + h];
  }
}

template <int COLUMNS>
__device__ __forceinline__ void norm_gradient(const NormGradientInputs& in, BFloat16* dx, float* partial, int H, int T) {
  if (T % CHUNK == 0) {
    gradient_of<COLUMNS, true>(in, dx, partial, H, T);
  } else {
    gradient_of<COLUMNS, false>(in, dx, partial, H, T);
  }
}

}  // namespace

// NORM_KERNELS chooses which of the kernels are compiled; without it, all.
#if !defined(NORM_KERNELS) || NORM_KERNELS == 0
// y = norm(x + bias + residual) * weight + norm_bias; x, residual, y [H, T], the rest [H]. H <= 768, T a multiple of 8. Grid: tiles of 32
// positions, 256 threads; 2 KiB of shared memory.
extern "C" __global__ void __launch_bounds__(NORM_THREADS, 2)
    channel_norm_registers(const BFloat16* x, const BFloat16* residual, const float* bias, const float* weight, const float* norm_bias,
                           BFloat16* y, int H, int T, float eps) {
  RegisterNorm<false>::run({x, residual, bias, weight, norm_bias}, y, nullptr, nullptr, H, T, eps);
}
#endif

#if !defined(NORM_KERNELS) || NORM_KERNELS == 1
// The same for any H and T. A block takes every gridDim.x-th tile of 32 (_16: of 16) positions, with 256 threads. Shared memory: 4 H bytes
// for each position of a tile, then 128 bytes for each.
extern "C" __global__ void __launch_bounds__(NORM_THREADS, 2)
    channel_norm(const BFloat16* x, const BFloat16* residual, const float* bias, const float* weight, const float* norm_bias, BFloat16* y,
                 int H, int T, float eps) {
  norm<32, false>({x, residual, bias, weight, norm_bias}, y, nullptr, nullptr, H, T, eps);
}
extern "C" __global__ void __launch_bounds__(NORM_THREADS, 2)
    channel_norm_16(const BFloat16* x, const BFloat16* residual, const float* bias, const float* weight, const float* norm_bias,
                    BFloat16* y, int H, int T, float eps) {
  norm<16, false>({x, residual, bias, weight, norm_bias}, y, nullptr, nullptr, H, T, eps);
}
#endif

#if !defined(NORM_KERNELS) || NORM_KERNELS == 2
// The same, and what the gradient needs: sum = x + bias + residual [H, T], statistics [2, T] the means and 1 / standard deviations.
extern "C" __global__ void __launch_bounds__(NORM_THREADS, 2)
    channel_norm_training(const BFloat16* x, const BFloat16* residual, const float* bias, const float* weight, const float* norm_bias,
                          BFloat16* y, BFloat16* sum, float* statistics, int H, int T, float eps) {
  norm<32, true>({x, residual, bias, weight, norm_bias}, y, sum, statistics, H, T, eps);
}
extern "C" __global__ void __launch_bounds__(NORM_THREADS, 2)
    channel_norm_training_16(const BFloat16* x, const BFloat16* residual, const float* bias, const float* weight, const float* norm_bias,
                             BFloat16* y, BFloat16* sum, float* statistics, int H, int T, float eps) {
  norm<16, true>({x, residual, bias, weight, norm_bias}, y, sum, statistics, H, T, eps);
}
#endif

#if !defined(NORM_KERNELS) || NORM_KERNELS == 4
extern "C" __global__ void __launch_bounds__(NORM_THREADS, 2)
    channel_norm_training_registers(const BFloat16* x, const BFloat16* residual, const float* bias, const float* weight,
                                    const float* norm_bias, BFloat16* y, BFloat16* sum, float* statistics, int H, int T, float eps) {
  RegisterNorm<true>::run({x, residual, bias, weight, norm_bias}, y, sum, statistics, H, T, eps);
}
#endif

#if !defined(NORM_KERNELS) || NORM_KERNELS == 3
// dx: the gradient of sum [H, T]. partial [blocks, 3, H]: what each block's positions add to the gradients of weight, norm_bias and bias.
// Shared memory as for channel_norm and 12 H bytes.
extern "C" __global__ void __launch_bounds__(NORM_THREADS, 2)
    channel_norm_gradient(const BFloat16* dy, const BFloat16* sum, const float* statistics, const float* weight, BFloat16* dx,
                          float* partial, int H, int T) {
  norm_gradient<32>({dy, sum, statistics, weight}, dx, partial, H, T);
}
extern "C" __global__ void __launch_bounds__(NORM_THREADS, 2)
    channel_norm_gradient_16(const BFloat16* dy, const BFloat16* sum, const float* statistics, const float* weight, BFloat16* dx,
                             float* partial, int H, int T) {
  norm_gradient<16>({dy, sum, statistics, weight}, dx, partial, H, T);
}
#endif

}  // namespace m2bert::ops::cuda
