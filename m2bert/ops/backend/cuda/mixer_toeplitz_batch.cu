// The Monarch Mixer's core for many short sequences, bfloat16: short convolution, gates, and both long convolutions as products with
// Toeplitz matrices on tensor cores.
//
// A block does one channel of 16 sequences, the rows of the left matrix, signal [16, L]; the right matrix, taps [L, L], is the same for
// all. The order of a product's columns is free, so that lane (g, q) has 8 neighbouring positions of rows g and g + 8 in vectors of 16
// bytes, on both sides: part m of 32 positions holds t(m, q, i) = 32 m + 8 q + i. Such a vector makes two fragments of 16 columns, h = 0
// and 1: positions 4 h, 4 h + 1 of each q are columns 2 q and 2 q + 1, positions 4 h + 2 and 4 h + 3 are columns 2 q + 8 and 2 q + 9.
// Column g of tile j of part m' is position t(m', g / 2, 2 j + g % 2), so a word of the right matrix, for positions s and s + 1, has the
// lag
//   t - s = 32 (m' - m) + 8 (g / 2 - q) + 2 d + g % 2,  d = j - 2 h or j - 2 h - 1,
// and the seven words that tiles and fragments need are neighbours in one copy of the taps. The skip term takes x1 v as the product does,
// rounded to bfloat16.
#include "m2bert/ops/backend/cuda/async_copy.cuh"
#include "m2bert/ops/backend/cuda/mixer_positions.cuh"
#include "m2bert/ops/backend/cuda/mixer_toeplitz.cuh"

namespace m2bert::ops::cuda {

namespace {

// Lengths up to LENGTH.
template <int LENGTH>
struct ToeplitzBatch {
  static constexpr ToeplitzBatchSizes SIZES{LENGTH};
  static constexpr int SEQUENCES = SIZES.SEQUENCES, PARTS = SIZES.parts(), OWN = SIZES.parts_of_warp(), WARPS = SIZES.warps();
  static constexpr int TAPS = tap_count(LENGTH), COPY = SIZES.copy();

  struct Part {
    uint4 lanes[2][32], unused[4];  // the next part in other banks
  };
  struct Shared {
    alignas(16) BFloat16 taps[2][2][COPY];  // filter; from the first tap on, and from the one before
    Part signals[2][PARTS];                 // gated and plain; as a lane's fragments: words 2 h of rows g and g + 8, then words 2 h + 1
    Part gates[2][PARTS];                   // x2 before its short convolution, of this group and the next one; rows g and g + 8
  };
  static_assert(sizeof(Shared) == SIZES.shared_bytes());

  // A lane's words of rows g and g + 8.
  static __device__ __forceinline__ void store_fragments(Part& to, int lane, const uint32_t (*words)[4]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) to.lanes[h][lane] = {words[0][2 * h], words[1][2 * h], words[0][2 * h + 1], words[1][2 * h + 1]};
  }
  static __device__ __forceinline__ void load_fragments(const Part& from, int lane, uint32_t (*words)[4]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint4 v = from.lanes[h][lane];
      words[0][2 * h] = v.x, words[1][2 * h] = v.y, words[0][2 * h + 1] = v.z, words[1][2 * h + 1] = v.w;
    }
  }

  // Adds the convolution at parts first ... first + OWN - 1; the signal is zero from part `parts` on.
  static __device__ __forceinline__ void convolve(const Part* signal, const BFloat16 (*copies)[COPY], int first, int parts,
                                                  float (*c)[4][4]) {
    const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    // The vectors that hold the words of lag 32 (first + i - m) + ...
    const uint4* taps = reinterpret_cast<const uint4*>(copies[g % 2]) + (LENGTH + 8) / 8 - g / 2 + q - 4 * first;
    uint32_t words[OWN][8];
    auto load_taps = [&](int i, int m, uint32_t* to) {
      const uint4 a = taps[4 * (m - i) - 1], b = taps[4 * (m - i)];
      to[0] = a.x, to[1] = a.y, to[2] = a.z, to[3] = a.w, to[4] = b.x, to[5] = b.y, to[6] = b.z, to[7] = b.w;
    };
    const int last = (parts + OWN - 1) / OWN * OWN - 1;
#pragma unroll
    for (int i = 0; i + 1 < OWN; ++i) load_taps(i, last, words[i]);
    // Part m - 1 needs the taps of part m, one place on.
#pragma unroll 1
    for (int from = last; from >= 0; from -= OWN) {
#pragma unroll
      for (int k = 0; k < OWN; ++k) {
        const int m = from - k;
        load_taps(OWN - 1, m, words[(OWN - 1 + k) % OWN]);
        const uint4 a = signal[m].lanes[0][lane], b = signal[m].lanes[1][lane];
        const uint32_t left[2][4] = {{a.x, a.y, a.z, a.w}, {b.x, b.y, b.z, b.w}};
#pragma unroll
        for (int i = 0; i < OWN; ++i) {
          const uint32_t* w = words[(i + k) % OWN];
#pragma unroll
          for (int h = 0; h < 2; ++h) {
#pragma unroll
            for (int j = 0; j < 4; ++j) mma_bf16(c[i][j], left[h], w[4 - j + 2 * h], w[5 - j + 2 * h]);
          }
        }
      }
    }
  }

  static constexpr int CHUNKS = LENGTH / 8, ROWS = 32 * WARPS / CHUNKS;
  static __device__ __forceinline__ int lane_of(int i, int chunk) { return 4 * (ROWS * i + int(threadIdx.x) / CHUNKS) + chunk % 4; }
  // What a group of sequences gives the products: each thread loads its eight positions of rows g and g + 8, for OWN values of g, so that
  // a warp reads neighbouring positions.
  template <bool WIDE>
  static __device__ __forceinline__ void stage(const MixerChannel& channel, Shared& shared, Part* gate, int first, bool residual) {
    const int chunk = threadIdx.x % CHUNKS, t = 8 * chunk, m = chunk / 4;
    Place places[OWN][2];
    SignalPositions gated[OWN][2];
    uint32_t plain[OWN][2][4];
#pragma unroll
    for (int k = 0; k < 2 * OWN; ++k) {
      const int i = k / 2, half = k % 2;
      places[i][half] = channel.place(first + 8 * half + ROWS * i + int(threadIdx.x) / CHUNKS);
      gated[i][half] = channel.load_signal<WIDE>(0, places[i][half], t);
      uint4* to = &gate[m].lanes[half][lane_of(i, chunk)];
      if (WIDE) {
        const bool exists = t < places[i][half].length;
        copy_async(to, channel.in.x2 + (exists ? places[i][half].offset + t : 0), exists);
      } else {
        uint32_t x2[4];
        load_words<false>(channel.in.x2, places[i][half], t, x2);
        *to = {x2[0], x2[1], x2[2], x2[3]};
      }
      if (residual) load_words<WIDE>(channel.in.u, places[i][half], t, plain[i][half]);
    }
    if (WIDE) commit_copies();
    __syncthreads();  // the group before is done
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
      const int lane = lane_of(i, chunk);
      uint32_t words[2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float x[8];
        channel.signal_values<WIDE>(0, gated[i][half], places[i][half], t, x);
        pack_positions(x, words[half]);
        if (!WIDE && residual) mask_words(places[i][half], t, plain[i][half]);
      }
      store_fragments(shared.signals[0][m], lane, words);
      if (residual) store_fragments(shared.signals[1][m], lane, plain[i]);
    }
    if (WIDE) wait_for_copies<0>();
  }

  // The gate at a warp's part m, of row g or g + 8.
  static __device__ __forceinline__ void gate_values(const MixerChannel& channel, const Part* gate, int m, int half, float* out) {
    const int lane = threadIdx.x % 32, q = lane % 4;
    const uint4 v = gate[m].lanes[half][lane];
    uint32_t before = 0;
    if (q) {
      before = gate[m].lanes[half][lane - 1].w;
    } else if (m) {
      before = gate[m - 1].lanes[half][lane + 3].w;
    }
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
    short_convolution(words, before, channel.filter(channel.in.x2_taps), 32 * m + 8 * q, out);
  }

  // WIDE: all rows are. per_block groups of sequences.
  template <bool WIDE>
  static __device__ __forceinline__ void run_groups(const MixerChannel& channel, Shared& shared, const float* D, BFloat16* y, bool residual,
                                                    int which, int per_block) {
    const MixerInputs<BFloat16>& in = channel.in;
    const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4, own = int(threadIdx.x) / 32 * OWN;
    const float D1 = D[2 * channel.channel + which], D2 = D[2 * channel.channel + (1 ^ which)];
    const int groups = (in.B + SEQUENCES - 1) / SEQUENCES, end = min(int(blockIdx.x + 1) * per_block, groups);
    for (int group = blockIdx.x * per_block; group < end; ++group) {
      const int first = group * SEQUENCES;
      int length = in.L;
      if (!WIDE) length = int(warp_max(max(channel.place(first + g).length, channel.place(first + 8 + g).length)));
      const int parts = (length + 31) / 32;
      Part* gate = shared.gates[group % 2];
      stage<WIDE>(channel, shared, gate, first, residual);
      __syncthreads();
      float c[OWN][4][4] = {};
      if (own < parts) {
        convolve(shared.signals[0], shared.taps[which], own, parts, c);
#pragma unroll
        for (int i = 0; i < OWN; ++i) {
          uint32_t gated[2][4], plain[2][4] = {};
          load_fragments(shared.signals[0][own + i], lane, gated);
          if (residual) load_fragments(shared.signals[1][own + i], lane, plain);
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            float x2[8], s[8], u[8];
            gate_values(channel, gate, own + i, half, x2);
            unpack_positions(gated[half], s), unpack_positions(plain[half], u);
#pragma unroll
            for (int k = 0; k < 8; ++k) {
              float& value = c[i][k / 2][2 * half + k % 2];
              value = x2[k] * (value + D1 * s[k]) + D2 * u[k];
            }
          }
        }
        if (residual) convolve(shared.signals[1], shared.taps[1 ^ which], own, parts, c);
      }
#pragma unroll
      for (int k = 0; k < 2 * OWN; ++k) {
        const int i = k / 2, half = k % 2;
        float out[8];
#pragma unroll
        for (int j = 0; j < 8; ++j) out[j] = c[i][j / 2][2 * half + j % 2];
        channel.store<WIDE>(channel.place(first + 8 * half + g), 32 * (own + i) + 8 * q, out, y);
      }
    }
  }

  static __device__ __forceinline__ void run(const MixerInputs<BFloat16>& in, const BFloat16* taps, const float* D, BFloat16* y,
                                             bool residual, int which, int per_block) {
    M2BERT_SHARED_MEMORY(shared_memory);
    constexpr int THREADS = 32 * WARPS, VECTORS = TAPS / 8;
    const int h = blockIdx.y;
    if (h >= in.H) return fill_bias_row(in, h, blockIdx.x * THREADS + threadIdx.x, gridDim.x * THREADS, y);
    Shared& shared = *reinterpret_cast<Shared*>(shared_memory);
    for (int i = threadIdx.x; i < 4 * VECTORS; i += THREADS) {
      const int copy = i / VECTORS;
      reinterpret_cast<uint4*>(shared.taps[copy / 2][copy % 2])[i % VECTORS] =
          reinterpret_cast<const uint4*>(taps + size_t(h) * 4 * TAPS)[i];
    }
    const MixerChannel channel{in, h};
    if (channel.wide()) {
      run_groups<true>(channel, shared, D, y, residual, which, per_block);
    } else {
      run_groups<false>(channel, shared, D, y, residual, which, per_block);
    }
  }
};

}  // namespace

// Grid: per_block groups of 16 sequences, rows of y. taps, D: of mixer_taps. filter: which of the two the gated convolution has.
#define MIXER_TOEPLITZ_BATCH(length, blocks)                                                                                         \
  extern "C" __global__ void __launch_bounds__(32 * ToeplitzBatch<length>::WARPS, blocks)                                            \
      mixer_toeplitz_batch_##length(MIXER_INPUTS(BFloat16), const BFloat16* taps, const float* D, const int* sequences, BFloat16* y, \
                                    MIXER_SIZES, bool residual, int filter, int per_block) {                                         \
    ToeplitzBatch<length>::run(mixer_inputs(x1, x2, v, u, short_filter, sequences, MIXER_SIZES_GIVEN), taps, D, y, residual, filter, \
                               per_block);                                                                                           \
  }

// MIXER_LENGTH: compiles only this kernel.
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 128
MIXER_TOEPLITZ_BATCH(128, 7)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 256
MIXER_TOEPLITZ_BATCH(256, 4)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 512
MIXER_TOEPLITZ_BATCH(512, 2)
#endif

}  // namespace m2bert::ops::cuda
