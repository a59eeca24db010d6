// h = gelu(W_p x_p) * (W_q x_q) for the blocks p < nb / 2 and q = p + nb / 2 of a block-diagonal weight: the channel mixer's first product
// with its gate, on channel-major activations. For Hopper.
//
// A block keeps 128 rows of W_p and W_q in registers, as the left operands of two warpgroups of 64 rows each, and goes through a range of
// the positions in tiles of 64. A third warpgroup copies the tiles of x_p and x_q to shared memory, ahead in a ring of stages. The two
// warpgroups take turns at the tensor cores: while one multiplies, the other one applies the gate to its last tile and stores it.
#include "m2bert/ops/backend/cuda/async_copy.cuh"
#include "m2bert/ops/backend/cuda/gelu.cuh"
#include "m2bert/ops/backend/cuda/warpgroup.cuh"

namespace m2bert::ops::cuda {

#ifdef M2BERT_WARPGROUPS
namespace {

constexpr int BLOCK_INPUTS = 192, BLOCK_ROWS = 128, POSITIONS = 64, STAGES = 4;
constexpr int STEPS = BLOCK_INPUTS / 16;  // of a product
constexpr int MATRIX_BYTES = BLOCK_INPUTS * POSITIONS * 2, STAGE_BYTES = 2 * MATRIX_BYTES;

// The tensor cores may take the inputs in any order. This one gives a lane, which needs inputs 2 q, 2 q + 1, 2 q + 8 and 2 q + 9 of each
// step, neighbouring ones in memory: input k of x is row slot_of(k) in shared memory.
M2BERT_DEVICE constexpr int slot_of(int k) {
  const int q = k % 32 / 8, e = k % 8;
  return k / 32 * 32 + e / 4 * 16 + e / 2 % 2 * 8 + 2 * q + e % 2;
}

struct GatedProduct {
  const BFloat16 *x, *weight;  // [nb 192, T], [nb, rows, 192]
  BFloat16* h;                 // [nb / 2 rows, T]
  int nb, rows, T, zones;

  // The work of this block: 128 rows of every gridDim.y-th pair of blocks, for the tiles of one zone.
  int row, first_tile, tiles;

  __device__ __forceinline__ void place() {
    const int row_tiles = rows / BLOCK_ROWS, zone = blockIdx.x / row_tiles, all = (T + POSITIONS - 1) / POSITIONS;
    row = blockIdx.x % row_tiles * BLOCK_ROWS;
    first_tile = int(int64_t(all) * zone / zones);
    tiles = int(int64_t(all) * (zone + 1) / zones) - first_tile;
  }
};

struct Ring {
  char* stages;
  ArrivalBarrier *full, *empty;  // [STAGES]

  __device__ __forceinline__ char* stage(int item) const { return stages + item % STAGES * STAGE_BYTES; }
  __device__ __forceinline__ void wait_full(int item) const { wait(full + item % STAGES, item / STAGES % 2); }
  __device__ __forceinline__ void wait_empty(int item) const {
    if (item >= STAGES) wait(empty + item % STAGES, (item / STAGES - 1) % 2);
  }
};

// The copying warpgroup. A thread has one chunk of 8 positions of every 16th input.
__device__ __forceinline__ void copy_tiles(const GatedProduct& g, const Ring& ring, int thread) {
  const int chunk = thread % 8, first = thread / 8;
  auto publish = [&](int item) {
    publish_to_products();
    arrive(ring.full + item % STAGES);
  };
  int item = 0;
  for (int p = blockIdx.y; p < g.nb / 2; p += gridDim.y) {
    for (int tile = 0; tile < g.tiles; ++tile, ++item) {
      const int t = (g.first_tile + tile) * POSITIONS + chunk * 8;
      const bool exists = t < g.T;
      char* const stage = ring.stage(item);
      ring.wait_empty(item);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const BFloat16* from = g.x + (size_t(p + m * (g.nb / 2)) * BLOCK_INPUTS + first) * g.T + (exists ? t : 0);
#pragma unroll
        for (int step = 0; step < STEPS; ++step, from += size_t(16) * g.T) {
          // slot_of(first + 16 step), in parts that are constants and parts of the thread.
          const int slot = slot_of(first) + step / 2 * 32 + step % 2 * 4;
          copy_async(stage + m * MATRIX_BYTES + slot * 128 + (chunk ^ slot % 8) * 16, from, exists);
        }
      }
      commit_copies();
      if (item > 0) {
        wait_for_copies<1>();
        publish(item - 1);
      }
    }
  }
  wait_for_copies<0>();
  if (item > 0) publish(item - 1);
}

// Lane q of four ends up with word q of each lane.
__device__ __forceinline__ void transpose_quads(uint32_t* words) {
  const int lane = threadIdx.x % 32;
  auto exchange = [&](uint32_t& low, uint32_t& high, int distance) {
    const bool upper = lane & distance;
    const uint32_t sent = __shfl_sync(~0u, upper ? low : high, lane ^ distance);
    (upper ? low : high) = sent;
  };
  exchange(words[0], words[1], 1);
  exchange(words[2], words[3], 1);
  exchange(words[0], words[2], 2);
  exchange(words[1], words[3], 2);
}

// A multiplying warpgroup: 0 or 1.
__device__ __forceinline__ void multiply_tiles(const GatedProduct& g, const Ring& ring, int group, int thread) {
  const int warp = thread / 32, lane = thread % 32, q = lane % 4;
  const int first_row = g.row + group * 64 + warp * 16 + lane / 4;  // this thread has also the 8th row after it
  const uint32_t stages = shared_address(ring.stages);
  const int turn = 1 + group, turn_of_other = 2 - group, both = 256;
  const int items = (g.nb / 2 - int(blockIdx.y) + int(gridDim.y) - 1) / int(gridDim.y) * g.tiles;
  int item = 0;
  if (group == 1 && items > 0) arrive_barrier(turn_of_other, both);
  for (int p = blockIdx.y; p < g.nb / 2; p += gridDim.y) {
    uint32_t a[2][STEPS][4];
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const BFloat16* row = g.weight + (size_t(p + m * (g.nb / 2)) * g.rows + first_row + 8 * half) * BLOCK_INPUTS + 8 * q;
#pragma unroll
        for (int step = 0; step < STEPS; step += 2) {
          const uint4 v = *reinterpret_cast<const uint4*>(row + 16 * step);
          a[m][step][half] = v.x, a[m][step][2 + half] = v.y;
          a[m][step + 1][half] = v.z, a[m][step + 1][2 + half] = v.w;
        }
      }
    }
    for (int tile = 0; tile < g.tiles; ++tile, ++item) {
      float gate[32], value[32];
      ring.wait_full(item);
      sync_barrier(turn, both);
      pin(gate);
      pin(value);
      begin_products();
      const uint64_t rows = rows_of_64(stages + item % STAGES * STAGE_BYTES);
#pragma unroll
      for (int step = 0; step < STEPS; ++step) multiply(gate, a[0][step], rows_of_64(rows, 16 * step), step > 0);
#pragma unroll
      for (int step = 0; step < STEPS; ++step) multiply(value, a[1][step], rows_of_64(rows, BLOCK_INPUTS + 16 * step), step > 0);
      commit_products();
      if (group == 0 || item + 1 < items) arrive_barrier(turn_of_other, both);
      finish_products();
      if (lane == 0) arrive(ring.empty + item % STAGES);
      __syncwarp();
      pin(gate);
      pin(value);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        BFloat16* const row = g.h + size_t(p * g.rows + first_row + 8 * half) * g.T;
#pragma unroll
        for (int part = 0; part < 2; ++part) {  // of 32 positions
          uint32_t words[4];
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            const int at = 4 * (4 * part + j) + 2 * half;
            words[j] = pack_bf16(gelu(gate[at]) * value[at], gelu(gate[at + 1]) * value[at + 1]);
          }
          transpose_quads(words);
          const int t = (g.first_tile + tile) * POSITIONS + part * 32 + q * 8;
          if (t < g.T) *reinterpret_cast<uint4*>(row + t) = {words[0], words[1], words[2], words[3]};
        }
      }
    }
  }
}

}  // namespace
#endif

// x [nb 192, T], weight [nb, rows, 192], h [nb / 2 rows, T]; nb is even, rows a multiple of 128, T a multiple of 8. Grid: rows / 128 times
// zones (ranges of positions, at most one for 64), by up to nb / 2; 384 threads, gated_product's shared_bytes(). Only for sm_90a.
extern "C" __global__ void __launch_bounds__(384, 1)
    gated_product(const BFloat16* x, const BFloat16* weight, BFloat16* h, int nb, int rows, int T, int zones) {
#ifdef M2BERT_WARPGROUPS
  M2BERT_SHARED_MEMORY(shared_memory);
  char* const stages = shared_memory + (1024 - shared_address(shared_memory) % 1024) % 1024;
  auto* const barriers = reinterpret_cast<ArrivalBarrier*>(stages + STAGES * STAGE_BYTES);
  const Ring ring{stages, barriers, barriers + STAGES};
  GatedProduct g{x, weight, h, nb, rows, T, zones, 0, 0, 0};
  g.place();
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; ++i) {
      init_barrier(ring.full + i, 128);  // the copying threads
      init_barrier(ring.empty + i, 8);   // the multiplying warps
    }
  }
  __syncthreads();
  const int group = threadIdx.x / 128, thread = threadIdx.x % 128;
  if (group == 2) {
    give_registers<64>();
    copy_tiles(g, ring, thread);
  } else {
    take_registers<224>();
    multiply_tiles(g, ring, group, thread);
  }
#endif
}

}  // namespace m2bert::ops::cuda
