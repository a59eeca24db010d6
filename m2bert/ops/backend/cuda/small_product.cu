// y_b = W_b x_b for the blocks b of a weight, channel-major, bfloat16: for few positions, where a call of cuBLASLt through MLX costs the
// host more than the product the GPU. By the warp's matrix products that every GPU from sm_80 on has.
//
// A block of four warps has a tile of the result, and goes through the inputs 32 at a time, copied to a ring of stages.
#include "m2bert/ops/backend/cuda/async_copy.cuh"
#include "m2bert/ops/backend/cuda/store_quad.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

namespace {

// Rows and positions of a tile. A warp has half of its rows and half of its positions.
template <int ROWS, int POSITIONS>
struct SmallProduct {
  static constexpr int THREADS = 128, STEP = 32, STAGES = 3, WARP_ROWS = ROWS / 2, WARP_POSITIONS = POSITIONS / 2;
  static constexpr int WEIGHT_BYTES = ROWS * STEP * 2, STAGE_BYTES = WEIGHT_BYTES + STEP * POSITIONS * 2;
  static constexpr int ROW_CHUNKS = STEP / 8, POSITION_CHUNKS = POSITIONS / 8;  // of 16 bytes

  const BFloat16 *weight, *x;
  BFloat16* y;
  int rows, inputs, T;  // of a block of the weight
  char* shared_memory;

  // The chunks of a row change places from row to row, which spares bank conflicts.
  __device__ __forceinline__ char* weight_chunk(int stage, int r, int chunk) const {
    return shared_memory + stage * STAGE_BYTES + (r * ROW_CHUNKS + (chunk ^ r / 2 % 4)) * 16;
  }
  __device__ __forceinline__ char* input_chunk(int stage, int k, int chunk) const {
    return shared_memory + stage * STAGE_BYTES + WEIGHT_BYTES + (k * POSITION_CHUNKS + (chunk ^ k % 8)) * 16;
  }

  // Step s of the inputs, if there is one; beyond the last input are zeros.
  __device__ __forceinline__ void copy_step(const BFloat16* w, const BFloat16* in, int t, int s) const {
    if (s * STEP < inputs) {
#pragma unroll
      for (int i = threadIdx.x; i < ROWS * ROW_CHUNKS; i += THREADS) {
        const int r = i / ROW_CHUNKS, k = s * STEP + i % ROW_CHUNKS * 8;
        const bool exists = k < inputs;
        copy_async(weight_chunk(s % STAGES, r, i % ROW_CHUNKS), w + size_t(r) * inputs + (exists ? k : 0), exists);
      }
#pragma unroll
      for (int i = threadIdx.x; i < STEP * POSITION_CHUNKS; i += THREADS) {
        const int k = i / POSITION_CHUNKS, chunk = i % POSITION_CHUNKS;
        const bool exists = s * STEP + k < inputs && t + chunk * 8 < T;
        copy_async(input_chunk(s % STAGES, k, chunk), in + (exists ? size_t(s * STEP + k) * T + t + chunk * 8 : 0), exists);
      }
    }
    commit_copies();
  }

  __device__ __forceinline__ void run() const {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp / 2 * WARP_ROWS, warp_position = warp % 2 * WARP_POSITIONS;
    const int row = blockIdx.x * ROWS, block = row / rows, t = blockIdx.y * POSITIONS;
    const BFloat16 *w = weight + size_t(row) * inputs, *in = x + size_t(block) * inputs * T;
    float d[WARP_ROWS / 16][WARP_POSITIONS / 2];
#pragma unroll
    for (int i = 0; i < WARP_ROWS / 16; ++i) {
#pragma unroll
      for (int j = 0; j < WARP_POSITIONS / 2; ++j) d[i][j] = 0;
    }
    for (int s = 0; s < STAGES - 1; ++s) copy_step(w, in, t, s);
    for (int s = 0; s * STEP < inputs; ++s) {
      wait_for_copies<STAGES - 2>();
      __syncthreads();
      copy_step(w, in, t, s + STAGES - 1);
#pragma unroll
      for (int k = 0; k < STEP; k += 16) {
        uint32_t a[WARP_ROWS / 16][4];
#pragma unroll
        for (int i = 0; i < WARP_ROWS / 16; ++i) {
          load_matrices(a[i], weight_chunk(s % STAGES, warp_row + 16 * i + lane % 16, k / 8 + lane / 16));
        }
#pragma unroll
        for (int j = 0; j < WARP_POSITIONS / 8; j += 2) {  // tiles of 8 positions
          uint32_t b[4];
          load_transposed(b, input_chunk(s % STAGES, k + lane % 16, warp_position / 8 + j + lane / 16));
#pragma unroll
          for (int i = 0; i < WARP_ROWS / 16; ++i) {
            mma_bf16(d[i] + 4 * j, a[i], b[0], b[1]);
            mma_bf16(d[i] + 4 * j + 4, a[i], b[2], b[3]);
          }
        }
      }
    }
#pragma unroll
    for (int i = 0; i < WARP_ROWS / 16; ++i) {
#pragma unroll
      for (int part = 0; part < WARP_POSITIONS / 32; ++part) {
        const int position = t + warp_position + 32 * part + lane % 4 * 8;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          uint32_t words[4];
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            const float* values = d[i] + 4 * (4 * part + j) + 2 * half;
            words[j] = pack_bf16(values[0], values[1]);
          }
          const int r = row + warp_row + 16 * i + 8 * half + lane / 4;
          store_quad(y + size_t(r) * T + position, words, position < T);
        }
      }
    }
  }
};

}  // namespace

// x [nb inputs, T], weight [nb, rows, inputs], y [nb rows, T]; inputs and T are multiples of 8, rows one of the tile's. Grid: row tiles of
// all blocks, position tiles; 128 threads. Shared memory: 18 KiB for tiles of 32 by 64, 36 KiB for those of 64 by 128.
extern "C" __global__ void __launch_bounds__(128)
    small_product_32(const BFloat16* x, const BFloat16* weight, BFloat16* y, int rows, int inputs, int T) {
  M2BERT_SHARED_MEMORY(shared_memory);
  SmallProduct<32, 64>{weight, x, y, rows, inputs, T, shared_memory}.run();
}
extern "C" __global__ void __launch_bounds__(128)
    small_product_64(const BFloat16* x, const BFloat16* weight, BFloat16* y, int rows, int inputs, int T) {
  M2BERT_SHARED_MEMORY(shared_memory);
  SmallProduct<64, 128>{weight, x, y, rows, inputs, T, shared_memory}.run();
}

}  // namespace m2bert::ops::cuda
