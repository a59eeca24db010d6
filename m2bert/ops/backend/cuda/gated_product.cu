// h = dropout(gelu(W_p x_p) * (W_q x_q)) for the blocks p < nb / 2 and q = p + nb / 2 of a block-diagonal weight: the channel mixer's first
// product with its gate, on channel-major activations. And its gradient, with the second product's before it. For Hopper.
//
// A block keeps 128 rows of W_p and W_q in registers, as the left operands of two warpgroups of 64 rows each, and goes through a range of
// the positions in tiles of 64. A third warpgroup copies the tiles of x_p and x_q to shared memory, ahead in a ring of stages. The two
// warpgroups take turns at the tensor cores: while one multiplies, the other one applies the gate to its last tile and stores it.
//
// The gradient multiplies a third pair of matrices: the transpose of the second product's weight, which a warpgroup keeps in shared memory,
// by that product's gradient. It has the gate's operands again, and dh, and stores h and the gradients of W_p x_p and W_q x_q.
#include "m2bert/ops/backend/cuda/async_copy.cuh"
#include "m2bert/ops/backend/cuda/store_gate.cuh"
#include "m2bert/ops/backend/cuda/warpgroup.cuh"

namespace m2bert::ops::cuda {

#ifdef M2BERT_WARPGROUPS
namespace {

constexpr int BLOCK_INPUTS = 192, BLOCK_ROWS = 128, POSITIONS = 64;
constexpr int STEPS = BLOCK_INPUTS / 16;                    // of a product
constexpr int MATRIX_BYTES = BLOCK_INPUTS * POSITIONS * 2;  // rows of 64 values

// The tensor cores may take the inputs in any order. This one gives a lane, which needs inputs 2 q, 2 q + 1, 2 q + 8 and 2 q + 9 of each
// step, neighbouring ones in memory: input k of x is row slot_of(k) in shared memory.
M2BERT_DEVICE constexpr int slot_of(int k) {
  const int q = k % 32 / 8, e = k % 8;
  return k / 32 * 32 + e / 4 * 16 + e / 2 % 2 * 8 + 2 * q + e % 2;
}

struct ProductInputs {
  const BFloat16 *x, *weight;  // [nb 192, T], [nb, rows, 192]
  const BFloat16 *dy, *down;   // [nb 192, T], [nb, 192, rows / 2], or null
};
template <bool GRADIENT, bool DROPOUT>
struct GatedProduct {
  static constexpr int MATRICES = GRADIENT ? 3 : 2, STAGES = GRADIENT ? 2 : 4, STAGE_BYTES = MATRICES * MATRIX_BYTES;

  ProductInputs in;
  GateOutputs out;
  Dropout dropout;
  int nb, rows, T;
  // The work of this block: 128 rows of every gridDim.y-th pair of blocks, for the tiles of one zone of the positions.
  int row, first_tile, tiles;
  // The ring of stages, and behind it the gradient's left operands.
  char *stages, *left;
  ArrivalBarrier *full, *empty;  // [STAGES]

  __device__ __forceinline__ GatedProduct(const ProductInputs& in, const GateOutputs& out, const Dropout& dropout, int nb, int rows, int T,
                                          int zones, char* shared_memory)
      : in(in), out(out), dropout(dropout), nb(nb), rows(rows), T(T) {
    const int row_tiles = rows / BLOCK_ROWS, zone = blockIdx.x / row_tiles, all = (T + POSITIONS - 1) / POSITIONS;
    row = blockIdx.x % row_tiles * BLOCK_ROWS;
    first_tile = int(int64_t(all) * zone / zones);
    tiles = int(int64_t(all) * (zone + 1) / zones) - first_tile;
    stages = shared_memory + (1024 - shared_address(shared_memory) % 1024) % 1024;
    left = stages + STAGES * STAGE_BYTES;
    full = reinterpret_cast<ArrivalBarrier*>(left + (GRADIENT ? 2 * MATRIX_BYTES : 0));
    empty = full + STAGES;
  }

  __device__ __forceinline__ void run() {
    if (threadIdx.x == 0) {
      for (int i = 0; i < STAGES; ++i) {
        init_barrier(full + i, 128);  // the copying threads
        init_barrier(empty + i, 8);   // the multiplying warps
      }
    }
    __syncthreads();
    const int group = threadIdx.x / 128, thread = threadIdx.x % 128;
    if (group == 2) {
      give_registers<40>();
      copy_tiles(thread);
    } else {  // together no more than at launch, 168 for each thread
      take_registers<232>();
      multiply_tiles(group, thread);
    }
  }

  __device__ __forceinline__ int other(int p) const { return p + nb / 2; }
  // The block of the second product that has the rows of h from `row` on of pair p, and which of its columns that is.
  __device__ __forceinline__ int down_block(int p) const { return (p * rows + row) / (rows / 2); }
  __device__ __forceinline__ int down_column(int p) const { return (p * rows + row) % (rows / 2); }

  // Copies 192 rows of 64 values for rows_of_64(), by 128 threads: a thread has one chunk of 8 values of every 16th row.
  __device__ __forceinline__ void copy_matrix(char* to, const BFloat16* from, size_t stride, int thread, bool exists) const {
    const int chunk = thread % 8, first = thread / 8;
    from += first * stride;
#pragma unroll
    for (int step = 0; step < STEPS; ++step, from += 16 * stride) {
      const int slot = slot_of(first) + step / 2 * 32 + step % 2 * 4;  // slot_of(first + 16 step)
      copy_async(to + slot * 128 + (chunk ^ slot % 8) * 16, from, exists);
    }
  }

  // The copying warpgroup.
  __device__ __forceinline__ void copy_tiles(int thread) const {
    auto publish = [&](int item) {
      publish_to_products();
      arrive(full + item % STAGES);
    };
    int item = 0;
    for (int p = blockIdx.y; p < nb / 2; p += gridDim.y) {
      for (int tile = 0; tile < tiles; ++tile, ++item) {
        const int t = (first_tile + tile) * POSITIONS + thread % 8 * 8;
        const bool exists = t < T;
        char* const stage = stages + item % STAGES * STAGE_BYTES;
        if (item >= STAGES) wait(empty + item % STAGES, (item / STAGES - 1) % 2);
#pragma unroll 1  // spares registers
        for (int m = 0; m < MATRICES; ++m) {
          const int block = m == 0 ? p : m == 1 ? other(p) : down_block(p);
          const BFloat16* from = (m < 2 ? in.x : in.dy) + size_t(block) * BLOCK_INPUTS * T + (exists ? t : 0);
          copy_matrix(stage + m * MATRIX_BYTES, from, T, thread, exists);
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

  // The left operand of step s for W_p (m = 0) and W_q, in registers.
  __device__ __forceinline__ void load_left(uint32_t (&a)[2][STEPS][4], int p, int first_row, int q) const {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const size_t at = size_t(m == 0 ? p : other(p)) * rows + first_row + 8 * half;
        const BFloat16* from = in.weight + at * BLOCK_INPUTS + 8 * q;
#pragma unroll
        for (int step = 0; step < STEPS; step += 2) {
          const uint4 v = *reinterpret_cast<const uint4*>(from + 16 * step);
          a[m][step][half] = v.x, a[m][step][2 + half] = v.y;
          a[m][step + 1][half] = v.z, a[m][step + 1][2 + half] = v.w;
        }
      }
    }
  }
  // The 64 columns of the second product's weight that meet this warpgroup's rows.
  __device__ __forceinline__ void copy_left(int p, int group, int thread) const {
    const int barrier = 3 + group;
    sync_barrier(barrier, 128);  // all warps have finished with the last ones
    const BFloat16* from = in.down + size_t(down_block(p)) * BLOCK_INPUTS * (rows / 2) + down_column(p) + 64 * group + thread % 8 * 8;
    copy_matrix(left + group * MATRIX_BYTES, from, rows / 2, thread, true);
    commit_copies();
    wait_for_copies<0>();
    publish_to_products();
    sync_barrier(barrier, 128);
  }

  // A multiplying warpgroup: 0 or 1.
  __device__ __forceinline__ void multiply_tiles(int group, int thread) const {
    const int warp = thread / 32, lane = thread % 32, q = lane % 4;
    const int first_row = row + group * 64 + warp * 16 + lane / 4;  // this thread has also the 8th row after it
    const int turn = 1 + group, turn_of_other = 2 - group, both = 256;
    const int items = (nb / 2 - int(blockIdx.y) + int(gridDim.y) - 1) / int(gridDim.y) * tiles;
    int item = 0;
    if (group == 1 && items > 0) arrive_barrier(turn_of_other, both);
    for (int p = blockIdx.y; p < nb / 2; p += gridDim.y) {
      uint32_t a[2][STEPS][4];
      load_left(a, p, first_row, q);
      if constexpr (GRADIENT) copy_left(p, group, thread);
      for (int tile = 0; tile < tiles; ++tile, ++item) {
        const int stage = item % STAGES;
        wait(full + stage, item / STAGES % 2);
        sync_barrier(turn, both);
        float gate[32], value[32], dh[32];
        pin(gate);
        pin(value);
        if constexpr (GRADIENT) pin(dh);
        begin_products();
        const uint64_t right = rows_of_64(shared_address(stages) + stage * STAGE_BYTES);
#pragma unroll
        for (int step = 0; step < STEPS; ++step) multiply(gate, a[0][step], rows_of_64(right, 16 * step), step > 0);
#pragma unroll
        for (int step = 0; step < STEPS; ++step) multiply(value, a[1][step], rows_of_64(right, BLOCK_INPUTS + 16 * step), step > 0);
        if constexpr (GRADIENT) {
          const uint64_t columns = rows_of_64(shared_address(left) + group * MATRIX_BYTES);
#pragma unroll
          for (int step = 0; step < STEPS; ++step) {
            multiply(dh, rows_of_64(columns, 16 * step), rows_of_64(right, 2 * BLOCK_INPUTS + 16 * step), step > 0);
          }
        }
        commit_products();
        if (group == 0 || item + 1 < items) arrive_barrier(turn_of_other, both);
        finish_products();
        if (lane == 0) arrive(empty + stage);
        __syncwarp();
        pin(gate);
        pin(value);
        if constexpr (GRADIENT) pin(dh);
        const int t = (first_tile + tile) * POSITIONS;
        const TileFactors<DROPOUT> factors(dropout, p * rows + first_row - lane / 4, t, nb / 2 * rows);
        if constexpr (GRADIENT) {
          store_gate_gradient({gate, value, dh}, factors, out, size_t(p * rows + first_row) * T, size_t(nb / 2) * rows * T, t, T);
        } else {
          store_gate(gate, value, factors, out.h + size_t(p * rows + first_row) * T, t, T);
        }
      }
    }
  }
};

}  // namespace
#endif

// PRODUCT_KERNELS chooses which of the kernels are compiled; without it, all.
#if !defined(PRODUCT_KERNELS) || PRODUCT_KERNELS == 0
// x [nb 192, T], weight [nb, rows, 192], h [nb / 2 rows, T]; nb is even, rows a multiple of 128, T a multiple of 8. Grid: rows / 128 times
// zones (ranges of positions, at most one for 64), by up to nb / 2; 384 threads. Shared memory: 8 times 24 KiB, and 1088 bytes. Only for
// sm_90a.
extern "C" __global__ void __launch_bounds__(384, 1)
    gated_product(const BFloat16* x, const BFloat16* weight, BFloat16* h, int nb, int rows, int T, int zones) {
#ifdef M2BERT_WARPGROUPS
  M2BERT_SHARED_MEMORY(shared_memory);
  GatedProduct<false, false>({x, weight, nullptr, nullptr}, {h, nullptr}, {}, nb, rows, T, zones, shared_memory).run();
#endif
}
#endif

#if !defined(PRODUCT_KERNELS) || PRODUCT_KERNELS == 2
// With dropout, which counts the values of h as [T, I]. See dropout_mask.h for key [2] and threshold; scale is 1 / (1 - p).
extern "C" __global__ void __launch_bounds__(384, 1)
    gated_product_dropout(const BFloat16* x, const BFloat16* weight, const uint32_t* key, BFloat16* h, int nb, int rows, int T, int zones,
                          int threshold, float scale) {
#ifdef M2BERT_WARPGROUPS
  M2BERT_SHARED_MEMORY(shared_memory);
  GatedProduct<false, true>({x, weight, nullptr, nullptr}, {h, nullptr}, {key, uint32_t(threshold), scale}, nb, rows, T, zones,
                            shared_memory)
      .run();
#endif
}
#endif

#if !defined(PRODUCT_KERNELS) || PRODUCT_KERNELS == 1
// The gradient, from dy [nb 192, T], the gradient of down h with down [nb, 192, rows / 2]: dg [nb rows, T], that of weight x, and h once
// more. rows is a multiple of 256; the grid and shared memory are the same.
extern "C" __global__ void __launch_bounds__(384, 1)
    gated_product_gradient(const BFloat16* x, const BFloat16* weight, const BFloat16* dy, const BFloat16* down, BFloat16* h, BFloat16* dg,
                           int nb, int rows, int T, int zones) {
#ifdef M2BERT_WARPGROUPS
  M2BERT_SHARED_MEMORY(shared_memory);
  GatedProduct<true, false>({x, weight, dy, down}, {h, dg}, {}, nb, rows, T, zones, shared_memory).run();
#endif
}
#endif

#if !defined(PRODUCT_KERNELS) || PRODUCT_KERNELS == 3
extern "C" __global__ void __launch_bounds__(384, 1)
    gated_product_gradient_dropout(const BFloat16* x, const BFloat16* weight, const BFloat16* dy, const BFloat16* down, const uint32_t* key,
                                   BFloat16* h, BFloat16* dg, int nb, int rows, int T, int zones, int threshold, float scale) {
#ifdef M2BERT_WARPGROUPS
  M2BERT_SHARED_MEMORY(shared_memory);
  GatedProduct<true, true>({x, weight, dy, down}, {h, dg}, {key, uint32_t(threshold), scale}, nb, rows, T, zones, shared_memory).run();
#endif
}
#endif

}  // namespace m2bert::ops::cuda
