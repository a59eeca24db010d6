// The same as gated_product.cu's forward kernels, h = dropout(gelu(W_p x_p) * (W_q x_q)), by the warp's matrix products that every GPU from
// sm_80 on has.
//
// A block keeps 128 rows of W_p and W_q in shared memory and goes through a range of the positions in tiles of 128. A warp has 32 rows by
// 64 positions of both products in registers. The inputs come 16 at a time, copied to a ring of stages.
#include "m2bert/ops/backend/cuda/async_copy.cuh"
#include "m2bert/ops/backend/cuda/store_gate.cuh"

namespace m2bert::ops::cuda {

namespace {

template <bool DROPOUT>
struct WarpGatedProduct {
  static constexpr int INPUTS = 192, ROWS = 128, POSITIONS = 128, THREADS = 256, STEP = 16, STEPS = INPUTS / STEP, STAGES = 4;
  static constexpr int ROW_CHUNKS = INPUTS / 8, POSITION_CHUNKS = POSITIONS / 8;  // of 16 bytes
  static constexpr int WEIGHT_BYTES = ROWS * INPUTS * 2, STAGE_BYTES = 2 * STEP * POSITIONS * 2;

  const BFloat16 *x, *weight;
  BFloat16* h;
  Dropout dropout;
  int nb, rows, T;
  char* shared_memory;  // two weights, then the stages
  int row, first_tile, tiles;

  __device__ __forceinline__ void place(int zones) {
    const int row_tiles = rows / ROWS, zone = blockIdx.x / row_tiles, all = (T + POSITIONS - 1) / POSITIONS;
    row = blockIdx.x % row_tiles * ROWS;
    first_tile = int(int64_t(all) * zone / zones);
    tiles = int(int64_t(all) * (zone + 1) / zones) - first_tile;
  }

  __device__ __forceinline__ int block(int p, int m) const { return p + m * (nb / 2); }
  // Chunk c of a row is at place c ^ (row % 8) in its group of 8, which spares bank conflicts.
  __device__ __forceinline__ char* weight_chunk(int m, int r, int chunk) const {
    return shared_memory + m * WEIGHT_BYTES + (r * ROW_CHUNKS + (chunk ^ r % 8)) * 16;
  }
  __device__ __forceinline__ char* input_chunk(int stage, int m, int k, int chunk) const {
    return shared_memory + 2 * WEIGHT_BYTES + stage * STAGE_BYTES + ((m * STEP + k) * POSITION_CHUNKS + (chunk ^ k % 8)) * 16;
  }

  __device__ __forceinline__ void copy_weight(int p) const {
#pragma unroll 4
    for (int i = threadIdx.x; i < 2 * ROWS * ROW_CHUNKS; i += THREADS) {
      const int m = i / (ROWS * ROW_CHUNKS), r = i / ROW_CHUNKS % ROWS, chunk = i % ROW_CHUNKS;
      copy_async(weight_chunk(m, r, chunk), weight + (size_t(block(p, m)) * rows + row + r) * INPUTS + chunk * 8);
    }
  }
  // Step s of this block's work for pair p, if there is one.
  __device__ __forceinline__ void copy_step(int p, int s) const {
    if (s < tiles * STEPS) {
      const int k = threadIdx.x / POSITION_CHUNKS, chunk = threadIdx.x % POSITION_CHUNKS;
      const int t = (first_tile + s / STEPS) * POSITIONS + chunk * 8;
      const bool exists = t < T;
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const size_t channel = size_t(block(p, m)) * INPUTS + s % STEPS * STEP + k;
        copy_async(input_chunk(s % STAGES, m, k, chunk), x + channel * T + (exists ? t : 0), exists);
      }
    }
    commit_copies();
  }

  __device__ __forceinline__ void run() const {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp / 2 * 32, warp_position = warp % 2 * 64;
    for (int p = blockIdx.y; p < nb / 2; p += gridDim.y) {
      __syncthreads();  // all warps have finished with the last weights
      copy_weight(p);
      for (int s = 0; s < STAGES - 1; ++s) copy_step(p, s);
      for (int tile = 0; tile < tiles; ++tile) {
        float d[2][2][32];  // of each product, for 16 rows each
#pragma unroll
        for (int i = 0; i < 128; ++i) (&d[0][0][0])[i] = 0;
        for (int step = 0; step < STEPS; ++step) {
          const int s = tile * STEPS + step;
          wait_for_copies<STAGES - 2>();
          __syncthreads();
          copy_step(p, s + STAGES - 1);
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            uint32_t a[2][4];
#pragma unroll
            for (int i = 0; i < 2; ++i) load_matrices(a[i], weight_chunk(m, warp_row + 16 * i + lane % 16, 2 * step + lane / 16));
#pragma unroll
            for (int j = 0; j < 8; j += 2) {  // tiles of 8 positions
              uint32_t b[4];
              load_transposed(b, input_chunk(s % STAGES, m, lane % 16, warp_position / 8 + j + lane / 16));
#pragma unroll
              for (int i = 0; i < 2; ++i) {
                mma_bf16(d[m][i] + 4 * j, a[i], b[0], b[1]);
                mma_bf16(d[m][i] + 4 * j + 4, a[i], b[2], b[3]);
              }
            }
          }
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int r = p * rows + row + warp_row + 16 * i, t = (first_tile + tile) * POSITIONS + warp_position;
          const TileFactors<DROPOUT> factors(dropout, r, t, nb / 2 * rows);
          store_gate(d[0][i], d[1][i], factors, h + size_t(r + lane / 4) * T, t, T);
        }
      }
    }
  }
};

}  // namespace

// x [nb 192, T], weight [nb, rows, 192], h [nb / 2 rows, T]; nb is even, rows a multiple of 128, T a multiple of 8. Grid: rows / 128 times
// zones (ranges of positions, at most one for 128), by up to nb / 2; 256 threads, 128 KiB of shared memory.
extern "C" __global__ void __launch_bounds__(256, 1)
    gated_product_mma(const BFloat16* x, const BFloat16* weight, BFloat16* h, int nb, int rows, int T, int zones) {
  M2BERT_SHARED_MEMORY(shared_memory);
  WarpGatedProduct<false> g{x, weight, h, {}, nb, rows, T, shared_memory, 0, 0, 0};
  g.place(zones);
  g.run();
}

// With dropout: see gated_product.cu.
extern "C" __global__ void __launch_bounds__(256, 1)
    gated_product_mma_dropout(const BFloat16* x, const BFloat16* weight, const uint32_t* key, BFloat16* h, int nb, int rows, int T,
                              int zones, int threshold, float scale) {
  M2BERT_SHARED_MEMORY(shared_memory);
  WarpGatedProduct<true> g{x, weight, h, {key, uint32_t(threshold), scale}, nb, rows, T, shared_memory, 0, 0, 0};
  g.place(zones);
  g.run();
}

}  // namespace m2bert::ops::cuda
