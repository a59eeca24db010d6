// The Monarch Mixer's core for many short sequences, bfloat16: short convolution, gates, and both long convolutions as products with
// Toeplitz matrices on tensor cores.
//
// A block does one channel, 16 sequences at a time, the rows of the left matrix, signal [16, L]; the right matrix, taps [L, L], is the same
// for all. The order of a product's columns is free, so that lane (g, q) has 8 neighbouring positions of rows g and g + 8 in vectors of 16
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
  static constexpr int SEQUENCES = SIZES.SEQUENCES, PARTS = SIZES.parts(), OWN = SIZES.PARTS_OF_WARP, WARPS = SIZES.warps();
  static constexpr int TAPS = tap_count(LENGTH), COPY = SIZES.copy(), U_BUFFERS = SIZES.u_buffers();

  // 32 positions of 16 sequences: lane (g, q) has a vector of row g and one of row g + 8; for a product, its fragments h = 0 and 1.
  struct Part {
    uint4 lanes[2][32], unused[4];  // the next part in other banks
  };
  struct Shared {
    alignas(16) BFloat16 taps[2][2][COPY];          // filter; from the first tap on, and from the one before
    Part gated[PARTS];                              // x1 as it is loaded, then x1 v as fragments
    Part v[PARTS], x2[PARTS], u[U_BUFFERS][PARTS];  // u as it is loaded, then as fragments; of this group, and the next one
  };
  static_assert(sizeof(Shared) == SIZES.shared_bytes());

  // A lane's words of rows g and g + 8. Fragment h has words 2 h of both, then words 2 h + 1.
  static __device__ __forceinline__ void put_fragments(uint4& first, uint4& second, const uint32_t (*words)[4]) {
    first = {words[0][0], words[1][0], words[0][1], words[1][1]};
    second = {words[0][2], words[1][2], words[0][3], words[1][3]};
  }
  static __device__ __forceinline__ void get_fragments(const Part& from, int lane, uint32_t (*words)[4]) {
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

  // A thread loads eight positions of rows g and g + 8, for OWN values of g, so that a warp reads neighbouring positions.
  static constexpr int CHUNKS = LENGTH / 8, ROWS = 32 * WARPS / CHUNKS;
  static __device__ __forceinline__ int chunk() { return threadIdx.x % CHUNKS; }
  static __device__ __forceinline__ int row() { return threadIdx.x / CHUNKS; }
  static __device__ __forceinline__ uint4& vector(Part* parts, int i, int half, int chunk) {
    return parts[chunk / 4].lanes[half][4 * (ROWS * i + row()) + chunk % 4];
  }
  static __device__ __forceinline__ Place place(const MixerChannel& channel, int group, int i, int half) {
    return channel.place(SEQUENCES * group + 8 * half + ROWS * i + row());
  }

  // Begins to load a group of sequences from one array, or two if other_to is not null. What is behind a sequence in its last vector comes
  // along.
  template <bool WIDE>
  static __device__ __forceinline__ void load(const MixerChannel& channel, int group, const BFloat16* x, Part* to,
                                              const BFloat16* other = nullptr, Part* other_to = nullptr) {
    const MixerInputs<BFloat16>& in = channel.in;
    const int t = 8 * chunk(), first = SEQUENCES * group + row();
    const size_t begin = size_t(channel.channel) * in.columns + first * in.L + t;
#pragma unroll
    for (int k = 0; k < 2 * OWN; ++k) {
      const int i = k / 2, half = k % 2, later = 8 * half + ROWS * i;
      if (WIDE) {
        const bool exists = t < in.L && first + later < in.B;
        copy_async(&vector(to, i, half, chunk()), x + begin + later * in.L, exists);
        if (other_to) copy_async(&vector(other_to, i, half, chunk()), other + begin + later * in.L, exists);
      } else {
        const Place p = place(channel, group, i, half);
        auto load_vector = [&](const BFloat16* from, uint4& v) {
          if (p.wide) return copy_async(&v, from + p.offset + t, t < p.length);
          uint32_t words[4];
          load_words<false>(from, p, t, words);
          v = {words[0], words[1], words[2], words[3]};
        };
        load_vector(x, vector(to, i, half, chunk()));
        if (other_to) load_vector(other, vector(other_to, i, half, chunk()));
      }
    }
    commit_copies();
  }

  // Of the channel; D1 and D2 are the skip terms.
  struct Filters {
    ShortFilter x1, v, x2;
    float D1, D2;
  };

  // The left sides of the products, in place: x1 v, and u if it is there.
  template <bool WIDE>
  static __device__ __forceinline__ void make_signals(const MixerChannel& channel, const Filters& filters, Shared& shared, int group,
                                                      Part* u) {
    const int t = 8 * chunk(), lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
      uint32_t gated[2][4], plain[2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        auto convolved = [&](Part* from, const ShortFilter& filter, float* out) {
          Positions p;
          get_words(vector(from, i, half, chunk()), p.words);
          if (CHUNKS > 32 && lane == 0 && t) p.before = vector(from, i, half, chunk() - 1).w;
          short_convolution(p, filter, t, out);
        };
        float x1[8], v[8];
        convolved(shared.gated, filters.x1, x1);
        convolved(shared.v, filters.v, v);
#pragma unroll
        for (int k = 0; k < 8; ++k) x1[k] *= v[k];
        if (u) get_words(vector(u, i, half, chunk()), plain[half]);
        if (!WIDE) {
          const Place p = place(channel, group, i, half);
          mask_positions<false>(p, t, x1);
          if (u) mask_words(p, t, plain[half]);
        }
        pack_positions(x1, gated[half]);
      }
      if (CHUNKS > 32) __syncthreads();  // x1 v replaces x1, whose last word the next warp's lane 0 reads
      put_fragments(vector(shared.gated, i, 0, chunk()), vector(shared.gated, i, 1, chunk()), gated);
      if (u) put_fragments(vector(u, i, 0, chunk()), vector(u, i, 1, chunk()), plain);
    }
  }

  // The gate at part m, of row g or g + 8.
  static __device__ __forceinline__ void gate_values(const ShortFilter& filter, const Part* x2, int m, int half, float* out) {
    constexpr int PITCH = sizeof(Part) / 4;
    const int lane = threadIdx.x % 32, q = lane % 4;
    uint32_t words[4];
    get_words(x2[m].lanes[half][lane], words);
    const uint32_t* last = reinterpret_cast<const uint32_t*>(&x2->lanes[half][lane]) + 3;  // of part 0
    const uint32_t before = last[PITCH * m + (q ? -4 : m ? 12 - PITCH : 0)];
    short_convolution(words, before, filter, 32 * m + 8 * q, out);
  }

  // c = gate (c + D1 x1 v) + D2 u at part m.
  static __device__ __forceinline__ void apply_gate(const Filters& filters, const Shared& shared, const Part* u, int m, float (*c)[4]) {
    const int lane = threadIdx.x % 32;
    uint32_t gated[2][4], plain[2][4] = {};
    get_fragments(shared.gated[m], lane, gated);
    if (u) get_fragments(u[m], lane, plain);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float gate[8], signal[8], skip[8];
      gate_values(filters.x2, shared.x2, m, half, gate);
      unpack_positions(gated[half], signal), unpack_positions(plain[half], skip);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        float& value = c[k / 2][2 * half + k % 2];
        value = gate[k] * (value + filters.D1 * signal[k]) + filters.D2 * skip[k];
      }
    }
  }

  // own: the first of the warp's parts.
  template <bool WIDE>
  static __device__ __forceinline__ void store(const MixerChannel& channel, int group, int own, const float (*c)[4][4], BFloat16* y) {
    const MixerInputs<BFloat16>& in = channel.in;
    const int lane = threadIdx.x % 32, t = 32 * own + 8 * (lane % 4), first = SEQUENCES * group + lane / 4;
    BFloat16* to = y + (size_t(channel.channel) * in.columns + first * in.L + t);
#pragma unroll
    for (int k = 0; k < 2 * OWN; ++k) {
      const int i = k / 2, half = k % 2;
      float out[8];
#pragma unroll
      for (int j = 0; j < 8; ++j) out[j] = c[i][j / 2][2 * half + j % 2];
      if (WIDE) {
        uint32_t words[4];
        pack_positions(out, words);
        if (t + 32 * i < in.L && first + 8 * half < in.B) {
          *reinterpret_cast<uint4*>(to + 8 * half * in.L + 32 * i) = {words[0], words[1], words[2], words[3]};
        }
      } else {
        channel.store<false>(channel.place(first + 8 * half), t + 32 * i, out, y);
      }
    }
  }

  // WIDE: all rows are. per_block groups of sequences.
  template <bool WIDE>
  static __device__ __forceinline__ void run_groups(const MixerChannel& channel, Shared& shared, const float* D, BFloat16* y, bool residual,
                                                    int which, int per_block) {
    const MixerInputs<BFloat16>& in = channel.in;
    const int own = int(threadIdx.x) / 32 * OWN, first_row = threadIdx.x % 32 / 4;
    Filters filters = {channel.filter(in.x1_taps), channel.filter(in.v_taps), channel.filter(in.x2_taps), D[2 * channel.channel + which],
                       D[2 * channel.channel + (1 ^ which)]};
    if (WIDE && 8 * chunk() >= in.L) filters.x1 = {};  // so that x1 v is zero there
    const int groups = (in.B + SEQUENCES - 1) / SEQUENCES, begin = blockIdx.x * per_block, end = min(begin + per_block, groups);
    auto u_of = [&](int group) { return residual ? shared.u[group % U_BUFFERS] : nullptr; };
    auto load_v = [&](int group) { load<WIDE>(channel, group, in.v, shared.v, in.u, U_BUFFERS > 1 ? u_of(group) : nullptr); };
    auto load_x = [&](int group) { load<WIDE>(channel, group, in.x1, shared.gated, in.x2, shared.x2); };
    auto load_u = [&](int group) {
      if (U_BUFFERS == 1 && residual) load<WIDE>(channel, group, in.u, u_of(group));
    };
    int parts = (in.L + 31) / 32;
    if (begin < end) load_v(begin), load_x(begin), load_u(begin);
#pragma unroll 1
    for (int group = begin; group < end; ++group) {
      if (!WIDE) {
        const int b = SEQUENCES * group + first_row;
        parts = (int(warp_max(max(channel.place(b).length, channel.place(b + 8).length))) + 31) / 32;
      }
      Part* u = u_of(group);
      wait_for_copies<0>();
      __syncthreads();
      make_signals<WIDE>(channel, filters, shared, group, u);
      __syncthreads();
      // The next group is loaded as soon as its place is free.
      const bool more = group + 1 < end, active = own < parts;
      if (more) load_v(group + 1);
      float c[OWN][4][4] = {};
      if (active) {
        convolve(shared.gated, shared.taps[which], own, parts, c);
#pragma unroll
        for (int i = 0; i < OWN; ++i) apply_gate(filters, shared, u, own + i, c[i]);
      }
      if (more) {
        __syncthreads();
        load_x(group + 1);
      }
      if (active && u) convolve(u, shared.taps[1 ^ which], own, parts, c);
      if (U_BUFFERS == 1 && more) {
        __syncthreads();
        load_u(group + 1);
      }
      store<WIDE>(channel, group, own, c, y);
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
MIXER_TOEPLITZ_BATCH(128, 8)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 256
MIXER_TOEPLITZ_BATCH(256, 4)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 512
MIXER_TOEPLITZ_BATCH(512, 2)
#endif

}  // namespace m2bert::ops::cuda
