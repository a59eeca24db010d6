// The Monarch Mixer's core for long sequences, bfloat16, by FFT on tensor cores in float16: short convolution, gates, both long
// convolutions.
//
// A pair of sequences, or the two segments of a long one, is one complex signal x of 256 a + o, a < PARTS / 2, which zeros extend to
// PARTS * 256. Its transform has three steps:
//   fold    Z_r[o] = exp(-2 pi i r o / (256 PARTS)) sum over a of exp(-2 pi i r a / PARTS) x[256 a + o]: a matrix product for columns o
//   parts   for each r, a transform of 256 values, 16 x 16, as two matrix products with a twiddle between; it stays in a warp's registers
//           through the filter and the inverse transform
//   unfold  the adjoint of the fold, for the positions of the sequence alone
// A sequence of segments x_0 and x_1 has the filters f_d for the distances d of segments, -1, 0 and 1. With z = x_0 + i x_1, the result
// y_0 + i y_1 has the transform A(k) Z(k) + B(k) conj(Z(-k)), where A = F_0 + i (F_1 - F_-1) / 2 and B = i (F_1 + F_-1) / 2: a pass of the
// same length as for a pair of sequences of half the length.
// Each factor is unitary, and inputs and spectra are scaled by powers of two, so that nothing can exceed float16's range.
#include "m2bert/ops/backend/cuda/mixer_inputs.cuh"
#include "m2bert/ops/backend/cuda/mixer_monarch.cuh"
#include "m2bert/ops/backend/cuda/mixer_positions.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

namespace {

__device__ __forceinline__ void load4(const uint32_t* p, uint32_t* words) {
  const uint4 v = *reinterpret_cast<const uint4*>(p);
  words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
}

// Words of a 16 x 16 complex matrix, as products leave it: word i is row g + 8 (i % 2), columns 8 (i / 2) + 2 q and the next one, where
// g = lane / 4, q = lane % 4.
struct Matrix {
  uint32_t re[4], im[4];
};

// Elementwise a * b, or a * conj(b).
template <bool conjugate>
__device__ __forceinline__ Matrix times(const Matrix& a, const uint32_t* re, const uint32_t* im) {
  Matrix y;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t product = mul_f16(a.im[i], im[i]), mixed = mul_f16(a.im[i], re[i]);
    y.re[i] = fma_f16(a.re[i], re[i], conjugate ? product : neg_f16(product));
    y.im[i] = fma_f16(a.re[i], conjugate ? neg_f16(im[i]) : im[i], mixed);
  }
  return y;
}

// y + a * b, or y + conj(a) * b.
template <bool conjugate>
__device__ __forceinline__ void add_product(const Matrix& a, const uint32_t* re, const uint32_t* im, Matrix& y) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    y.re[i] = fma_f16(a.im[i], conjugate ? im[i] : neg_f16(im[i]), fma_f16(a.re[i], re[i], y.re[i]));
    y.im[i] = fma_f16(a.im[i], conjugate ? neg_f16(re[i]) : re[i], fma_f16(a.re[i], im[i], y.im[i]));
  }
}

struct Accumulator {
  float re[2][4] = {}, im[2][4] = {};  // tile of 8 columns; row g columns 2 q, 2 q + 1, then row g + 8

  __device__ __forceinline__ Matrix pack() const {
    Matrix y;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      y.re[i] = pack_f16(re[i / 2][2 * (i % 2)], re[i / 2][2 * (i % 2) + 1]);
      y.im[i] = pack_f16(im[i / 2][2 * (i % 2)], im[i / 2][2 * (i % 2) + 1]);
    }
    return y;
  }
};

// F[j][k] = exp(-2 pi i j k / 16) / 4 as a left matrix; it is symmetric.
struct Fragments {
  uint32_t re[4], im[4], minus_im[4];

  // F x or conj(F) x, for x of which a lane holds columns: words b0, b1 of columns 0 to 7, then of 8 to 15.
  template <bool inverse>
  __device__ __forceinline__ Matrix times_columns(const uint32_t* x_re, const uint32_t* x_im) const {
    Accumulator y;
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      mma_f16(y.re[t], re, x_re[2 * t], x_re[2 * t + 1]);
      mma_f16(y.im[t], re, x_im[2 * t], x_im[2 * t + 1]);
      mma_f16(y.re[t], inverse ? im : minus_im, x_im[2 * t], x_im[2 * t + 1]);
      mma_f16(y.im[t], inverse ? minus_im : im, x_re[2 * t], x_re[2 * t + 1]);
    }
    return y.pack();
  }
  // conj(F) x^T: what a product leaves as rows is what the next one takes as columns.
  __device__ __forceinline__ Matrix conj_times_transposed(const Matrix& x) const {
    const uint32_t x_re[4] = {x.re[0], x.re[2], x.re[1], x.re[3]}, x_im[4] = {x.im[0], x.im[2], x.im[1], x.im[3]};
    return times_columns<true>(x_re, x_im);
  }
  // x F.
  __device__ __forceinline__ Matrix left_times(const Matrix& x) const {
    Accumulator y;
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      mma_f16(y.re[t], x.re, re[t], re[t + 2]);
      mma_f16(y.im[t], x.re, im[t], im[t + 2]);
      mma_f16(y.re[t], x.im, minus_im[t], minus_im[t + 2]);
      mma_f16(y.im[t], x.im, re[t], re[t + 2]);
    }
    return y.pack();
  }
};

// 2^-e and 2^e for the smallest e with x < 2^e, from the bits of x >= 0.
struct PowerOfTwo {
  int e;
  __device__ __forceinline__ explicit PowerOfTwo(uint32_t bits) : e(min(max(int(bits >> 23) - 126, -60), 100)) {}
};
__device__ __forceinline__ float power_of_two(int e) { return __uint_as_float(uint32_t(max(e + 127, 0)) << 23); }

// SEGMENTS: of a sequence, 1 or 2.
template <int PARTS, int SEGMENTS, int GROUPS, int WARPS>
struct Monarch {
  static constexpr MonarchSizes SIZES{PARTS, GROUPS, WARPS};
  static constexpr int THREADS = 32 * WARPS, SWEEPS = SIZES.length() / (8 * THREADS);
  static constexpr int AT_ONCE = SWEEPS < 2 ? 1 : 2;    // sweeps whose inputs are loaded together
  static constexpr bool KEPT_IN_OUTPUT = SEGMENTS > 1;  // too much for the registers
  // Blocks share a transform, of sequences so long that there are few. Registers cannot hold all sweeps of a signal. Each block would
  // compute the gated signals again, so they come from memory.
  static constexpr bool GROUPED = GROUPS > 1;

  char* exchange;  // planes of the real and of the imaginary parts, [rows][ROW] float16
  const char* fold_table;
  uint32_t* maxima;
  const uint32_t* constants;
  int warp, lane, g, q, group;

  // A row of 8 values, 16 bytes; neighbours of a transform's columns are in other banks, and of two levels also rows 8 and 16 apart.
  __device__ __forceinline__ char* at(int plane, int row, int chunk) const {
    int place = chunk ^ (chunk >> 3 & 1);
    if (SIZES.two_levels()) place ^= (row >> 3 ^ row >> 6) & 7;
    return exchange + plane * (SIZES.rows() * SIZES.ROW * 2) + row * (SIZES.ROW * 2) + place * 16;
  }
  __device__ __forceinline__ void store_word(int plane, int row, int chunk, uint32_t word) const {
    *reinterpret_cast<uint32_t*>(at(plane, row, chunk) + 4 * q) = word;
  }

  // The largest of all threads' x >= 0, as bits. Has a barrier before and after.
  __device__ __forceinline__ uint32_t block_max(float x) const {
    const uint32_t own = warp_max(__float_as_uint(x));
    __syncthreads();
    if (lane == 0) maxima[warp] = own;
    __syncthreads();
    return warp_max(maxima[lane % WARPS]);
  }

  // A signal into rows a < PARTS / 2 of the planes, scaled by 2^-e; returns e. load(wide, b, t): what is needed from position t on of the
  // real (b = 0) or imaginary part; values(b, t, loaded, x): x[0 ... 7].
  template <typename Load, typename Values>
  __device__ __forceinline__ int stage(bool wide, Load load, Values values) const {
    // GROUPED: values are stored before their common scale is known, and rescaled where they are.
    [[maybe_unused]] constexpr int UNROLLED = GROUPED ? 1 : SWEEPS;
    uint32_t kept[GROUPED ? 1 : SWEEPS][2][4];
    int own[GROUPED ? 1 : SWEEPS];
    uint64_t own_bytes = 0;
    float largest = 0;
    if constexpr (GROUPED) __syncthreads();
#pragma unroll UNROLLED
    for (int first = 0; first < SWEEPS; first += AT_ONCE) {
      SignalPositions loaded[AT_ONCE][2];
      load_first(wide, [&](auto is_wide) {
#pragma unroll
        for (int k = 0; k < 2 * AT_ONCE; ++k) loaded[k / 2][k % 2] = load(is_wide, k % 2, position(first + k / 2));
      });
#pragma unroll
      for (int k = first; k < first + AT_ONCE; ++k) {
        float x[2][8], most = 0;
#pragma unroll
        for (int b = 0; b < 2; ++b) values(b, position(k), loaded[k - first][b], x[b]);
#pragma unroll
        for (int i = 0; i < 8; ++i) most = fmaxf(most, fmaxf(fabsf(x[0][i]), fabsf(x[1][i])));
        largest = fmaxf(largest, most);
        const int exponent = PowerOfTwo(__float_as_uint(most)).e;
        if constexpr (GROUPED) own_bytes |= uint64_t(exponent & 255) << 8 * k;
        else own[k] = exponent;
        const float scale = power_of_two(-exponent);
        auto& words = kept[GROUPED ? 0 : k];
#pragma unroll
        for (int i = 0; i < 8; ++i) words[i / 4][i % 4] = pack_f16(x[i / 4][2 * (i % 4)] * scale, x[i / 4][2 * (i % 4) + 1] * scale);
        if constexpr (GROUPED) store_positions(k, words);
      }
    }
    const int e = PowerOfTwo(block_max(largest)).e;
#pragma unroll UNROLLED
    for (int k = 0; k < SWEEPS; ++k) {
      int exponent;
      if constexpr (GROUPED) exponent = int8_t(own_bytes >> 8 * k);
      else exponent = own[k];
      const float rest = power_of_two(exponent - e);
      const uint32_t scale = pack_f16(rest, rest);
      auto& words = kept[GROUPED ? 0 : k];
      if constexpr (GROUPED) read(k, 0, words[0]), read(k, 1, words[1]);
#pragma unroll
      for (int i = 0; i < 8; ++i) words[i / 4][i % 4] = mul_f16(words[i / 4][i % 4], scale);
      store_positions(k, words);
    }
    return e;
  }
  __device__ __forceinline__ void store_positions(int sweep, const uint32_t (&words)[2][4]) const {
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      *reinterpret_cast<uint4*>(at(b, position(sweep) / 256, position(sweep) % 256 / 8)) = {words[b][0], words[b][1], words[b][2],
                                                                                            words[b][3]};
    }
  }
  __device__ __forceinline__ int position(int sweep) const { return (sweep * THREADS + int(threadIdx.x)) * 8; }

  // Rows first ... first + 15 of a plane, columns of a tile of 16, as a right matrix.
  __device__ __forceinline__ void load_rows(int plane, int first, int tile, uint32_t* words) const {
    load_transposed(words, at(plane, first + lane % 16, 2 * tile + lane / 16));
  }
  __device__ __forceinline__ void store_rows(int first, int tile, const Matrix& x) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      store_word(0, first + g + 8 * (i % 2), 2 * tile + i / 2, x.re[i]);
      store_word(1, first + g + 8 * (i % 2), 2 * tile + i / 2, x.im[i]);
    }
  }
  // The factors of the fold for 16 of this block's parts.
  __device__ __forceinline__ const uint32_t* twists(int tile, int m) const {
    return constants + SIZES.twists() + (tile * (PARTS / 16) + group * (SIZES.own_parts() / 16) + m) * 256 + lane * 4;
  }
  __device__ __forceinline__ Matrix twisted(const Matrix& x, int tile, int m) const {
    uint32_t re[4], im[4];
    const uint32_t* twist = twists(tile, m);
    load4(twist, re), load4(twist + 128, im);
    return times<false>(x, re, im);
  }
  // Rows 16 m, columns 16 k of the fold's matrix, plane real or imaginary, as a left matrix; transposed: its columns 16 m, rows 16 k.
  template <bool transposed>
  __device__ __forceinline__ void load_fold(int plane, int m, int k, uint32_t* words) const {
    const char* table = fold_table + plane * (SIZES.fold_bytes() / 2);
    if (transposed) {
      load_transposed(words, table + ((16 * k + lane / 16 * 8 + lane % 8) * SIZES.fold_row() + 16 * m + lane / 8 % 2 * 8) * 2);
    } else {
      load_matrices(words, table + ((16 * m + lane % 16) * SIZES.fold_row() + 16 * k + lane / 16 * 8) * 2);
    }
  }

  // Rows 16 m, columns 16 k of the fold's matrix, or of its adjoint.
  template <bool adjoint>
  struct FoldTile {
    uint32_t re[4], im[4];

    __device__ __forceinline__ FoldTile(const Monarch& fold, int m, int k) {
      fold.load_fold<adjoint>(0, m, k, re), fold.load_fold<adjoint>(1, m, k, im);
    }
    // y += the product with x, two words each of 8 columns.
    __device__ __forceinline__ void add_product(const uint32_t* x_re, const uint32_t* x_im, float* y_re, float* y_im) const {
      mma_f16(y_re, re, x_re[0], x_re[1]);
      mma_f16(y_im, re, x_im[0], x_im[1]);
      mma_f16(y_re, im, adjoint ? x_im[0] : negated(x_im[0]), adjoint ? x_im[1] : negated(x_im[1]));
      mma_f16(y_im, im, adjoint ? negated(x_re[0]) : x_re[0], adjoint ? negated(x_re[1]) : x_re[1]);
    }
  };

  // The left matrices of a small fold, or of one of two levels, which each lane loads before the barrier in front of it.
  struct FoldMatrices {
    uint32_t words[PARTS == 16 ? 2 : 1][4];

    // first: of the table's four.
    __device__ __forceinline__ FoldMatrices(const Monarch& m, int first) {
      if constexpr (SIZES.small()) {
#pragma unroll
        for (int i = 0; i < PARTS / 8; ++i) load4(m.constants + SIZES.fold() + (first * (PARTS / 8) + i) * 128 + m.lane * 4, words[i]);
      } else if constexpr (SIZES.two_levels()) {
        load4(m.constants + SIZES.fold() + SIZES.level_words() + first * 128 + m.lane * 4, words[0]);
      }
    }
  };

  // 32 COUNT rows of both planes, 8 columns, as right matrices; then a warp may overwrite them.
  template <int COUNT>
  __device__ __forceinline__ void load_chunk(int chunk, uint32_t (&re)[COUNT][4], uint32_t (&im)[COUNT][4]) const {
#pragma unroll
    for (int k = 0; k < COUNT; ++k) {
      load_transposed(re[k], at(0, 32 * k + lane, chunk));
      load_transposed(im[k], at(1, 32 * k + lane, chunk));
    }
    __syncwarp();
  }

  // fold for 8 columns, which takes half the registers.
  __device__ __forceinline__ void fold_chunk(int chunk) const {
    uint32_t re[PARTS / 64][4], im[PARTS / 64][4];
    load_chunk(chunk, re, im);
#pragma unroll 1
    for (int m = 0; m < SIZES.own_parts() / 16; ++m) {
      float y_re[4] = {}, y_im[4] = {};
#pragma unroll
      for (int k = 0; k < PARTS / 32; ++k) {
        const FoldTile<false> f(*this, m, k);
        f.add_product(re[k / 2] + 2 * (k % 2), im[k / 2] + 2 * (k % 2), y_re, y_im);
      }
      const uint32_t* twist = twists(chunk / 2, m) + chunk % 2 * 2;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t y = pack_f16(y_re[2 * i], y_re[2 * i + 1]), z = pack_f16(y_im[2 * i], y_im[2 * i + 1]);
        store_word(0, 16 * m + g + 8 * i, chunk, fma_f16(y, twist[i], neg_f16(mul_f16(z, twist[128 + i]))));
        store_word(1, 16 * m + g + 8 * i, chunk, fma_f16(y, twist[128 + i], mul_f16(z, twist[i])));
      }
    }
  }

  // Of two levels: rows first, first + step ... of both planes, eight of each, as a right matrix.
  __device__ __forceinline__ void load_level(int first, int step, int tile, uint32_t* words) const {
    load_transposed(words, at(lane / 8 % 2, first + step * (lane % 8), 2 * tile + lane / 16));
  }
  // Those of the product for a0, or of its adjoint.
  __device__ __forceinline__ void load_level_matrices(bool adjoint, int a0, uint32_t (&words)[2][4]) const {
    const auto* table = reinterpret_cast<const uint32_t*>(fold_table) + adjoint * (SIZES.level_words() / 2) + a0 * 256 + lane * 4;
    load4(table, words[0]), load4(table + 128, words[1]);
  }
  // The product for all r0, and its adjoint: rows 16 k + r0 of both planes, in place. twist: whether results get the fold's factors.
  template <bool twist>
  __device__ __forceinline__ void outer_level(const FoldMatrices& left, int tile) const {
    constexpr int AT_ONCE = 4;
#pragma unroll 1
    for (int first = 0; first < 16; first += AT_ONCE) {
      uint32_t x[AT_ONCE][4], twists[AT_ONCE][4];
#pragma unroll
      for (int i = 0; i < AT_ONCE; ++i) {
        load_level(first + i, 16, tile, x[i]);
        if (twist) load4(constants + SIZES.twists() + (tile * 16 + first + i) * 128 + lane * 4, twists[i]);
      }
      __syncwarp();
#pragma unroll
      for (int i = 0; i < AT_ONCE; ++i) {
#pragma unroll
        for (int t = 0; t < 2; ++t) {
          float y[4] = {};  // row g: the real part of row 16 g + r0; row g + 8: its imaginary part
          mma_f16(y, left.words[0], x[i][2 * t], x[i][2 * t + 1]);
          uint32_t re = pack_f16(y[0], y[1]), im = pack_f16(y[2], y[3]);
          if (twist) {
            const uint32_t untwisted = re, cos = twists[i][t], sin = twists[i][t + 2];
            re = fma_f16(re, cos, neg_f16(mul_f16(im, sin)));
            im = fma_f16(untwisted, sin, mul_f16(im, cos));
          }
          store_word(0, 16 * g + first + i, 2 * tile + t, re);
          store_word(1, 16 * g + first + i, 2 * tile + t, im);
        }
      }
    }
  }
  // Row 16 a0 + r0 becomes a product over a1, row 16 r1 + r0 then one over a0.
  __device__ __forceinline__ void fold_levels(const FoldMatrices& left, int tile) const {
    uint32_t x[8][4];
#pragma unroll
    for (int a0 = 0; a0 < 8; ++a0) load_level(a0, 8, tile, x[a0]);
    __syncwarp();
#pragma unroll
    for (int a0 = 0; a0 < 8; ++a0) {
      uint32_t matrices[2][4];
      load_level_matrices(false, a0, matrices);
      Accumulator y;
#pragma unroll
      for (int t = 0; t < 2; ++t) {
        mma_f16(y.re[t], matrices[0], x[a0][2 * t], x[a0][2 * t + 1]);
        mma_f16(y.im[t], matrices[1], x[a0][2 * t], x[a0][2 * t + 1]);
      }
      store_rows(16 * a0, tile, y.pack());
    }
    __syncwarp();
    outer_level<true>(left, tile);
  }
  __device__ __forceinline__ void unfold_levels(const FoldMatrices& left, int tile) const {
    outer_level<false>(left, tile);
    __syncwarp();
    uint32_t words[8][2][2];
#pragma unroll
    for (int a0 = 0; a0 < 8; ++a0) {
      uint32_t re[4], im[4], matrices[2][4];
      load_rows(0, 16 * a0, tile, re), load_rows(1, 16 * a0, tile, im);
      load_level_matrices(true, a0, matrices);
#pragma unroll
      for (int t = 0; t < 2; ++t) {
        float y[4] = {};  // row g: the real part of row 8 g + a0; row g + 8: its imaginary part
        mma_f16(y, matrices[0], re[2 * t], re[2 * t + 1]);
        mma_f16(y, matrices[1], im[2 * t], im[2 * t + 1]);
        words[a0][t][0] = pack_f16(y[0], y[1]), words[a0][t][1] = pack_f16(y[2], y[3]);
      }
    }
    __syncwarp();
#pragma unroll
    for (int a0 = 0; a0 < 8; ++a0) {
#pragma unroll
      for (int i = 0; i < 4; ++i) store_word(i % 2, 8 * g + a0, 2 * tile + i / 2, words[a0][i / 2][i % 2]);
    }
  }

  __device__ __forceinline__ void fold(const FoldMatrices& left) const {
#pragma unroll 1
    for (int tile = warp; tile < 16; tile += WARPS) {
      if constexpr (PARTS == 8) {
        uint32_t twist[4], x[4];
        load4(constants + SIZES.twists() + tile * 128 + lane * 4, twist);
        load_transposed(x, at(lane / 4 % 2, lane % 4, 2 * tile + lane / 16));
        __syncwarp();
#pragma unroll
        for (int t = 0; t < 2; ++t) {
          float y[4] = {};  // row g: the real part of part g; row g + 8: its imaginary part
          mma_f16(y, left.words[0], x[2 * t], 0);
          const uint32_t re = pack_f16(y[0], y[1]), im = pack_f16(y[2], y[3]);
          store_word(0, g, 2 * tile + t, fma_f16(re, twist[t], neg_f16(mul_f16(im, twist[t + 2]))));
          store_word(1, g, 2 * tile + t, fma_f16(re, twist[t + 2], mul_f16(im, twist[t])));
        }
      } else if constexpr (PARTS == 16) {
        uint32_t x[4];
        load_transposed(x, at(lane / 8 % 2, lane % 8, 2 * tile + lane / 16));
        __syncwarp();
        Accumulator y;
#pragma unroll
        for (int t = 0; t < 2; ++t) {
          mma_f16(y.re[t], left.words[0], x[2 * t], x[2 * t + 1]);
          mma_f16(y.im[t], left.words[1], x[2 * t], x[2 * t + 1]);
        }
        store_rows(0, tile, twisted(y.pack(), tile, 0));
      } else if constexpr (SIZES.two_levels()) {
        fold_levels(left, tile);
      } else if constexpr (PARTS == 256) {
#pragma unroll 1
        for (int t = 0; t < 2; ++t) fold_chunk(2 * tile + t);
      } else {
        uint32_t re[PARTS / 32][4], im[PARTS / 32][4];
#pragma unroll
        for (int k = 0; k < PARTS / 32; ++k) load_rows(0, 16 * k, tile, re[k]), load_rows(1, 16 * k, tile, im[k]);
        __syncwarp();
#pragma unroll 1
        for (int m = 0; m < SIZES.own_parts() / 16; ++m) {
          Accumulator y;
#pragma unroll
          for (int k = 0; k < PARTS / 32; ++k) {
            const FoldTile<false> f(*this, m, k);
#pragma unroll
            for (int t = 0; t < 2; ++t) f.add_product(re[k] + 2 * t, im[k] + 2 * t, y.re[t], y.im[t]);
          }
          store_rows(16 * m, tile, twisted(y.pack(), tile, m));
        }
      }
    }
  }

  // The transform of 256 values and its constants.
  struct PartTransform {
    Fragments f;
    uint32_t twiddle_re[4], twiddle_im[4];

    __device__ __forceinline__ explicit PartTransform(const Monarch& m) {
      load4(m.constants + SIZES.fragments() + m.lane * 4, f.re);
      load4(m.constants + SIZES.fragments() + 128 + m.lane * 4, f.im);
      load4(m.constants + SIZES.fragments() + 256 + m.lane * 4, f.minus_im);
      load4(m.constants + SIZES.twiddles() + m.lane * 4, twiddle_re);
      load4(m.constants + SIZES.twiddles() + 128 + m.lane * 4, twiddle_im);
    }
    // Of part r of the group, which the fold left in the planes. Frequency f1 + 16 f2 is in row f1, column f2.
    __device__ __forceinline__ Matrix operator()(const Monarch& m, int r) const {
      uint32_t x_re[4], x_im[4];
      load_transposed(x_re, m.at(0, r, 2 * (m.lane % 16) + m.lane / 16));
      load_transposed(x_im, m.at(1, r, 2 * (m.lane % 16) + m.lane / 16));
      return f.left_times(times<false>(f.template times_columns<false>(x_re, x_im), twiddle_re, twiddle_im));
    }
    __device__ __forceinline__ Matrix inverse(const Matrix& x) const {
      return f.conj_times_transposed(times<true>(f.conj_times_transposed(x), twiddle_re, twiddle_im));
    }
  };

  // The filter at a part's frequencies.
  struct PartSpectrum {
    uint32_t re[4], im[4];
    __device__ __forceinline__ void load(const Monarch& m, const uint32_t* spectrum, int r) {
      load4(spectrum + r * 256 + m.lane * 4, re), load4(spectrum + r * 256 + 128 + m.lane * 4, im);
    }
  };
  // The inverse transform of a part, into its row.
  __device__ __forceinline__ void store_part(const PartTransform& transform, int r, const Matrix& filtered) const {
    uint32_t twist_re[4], twist_im[4];
    const uint32_t* twist = constants + SIZES.untwists() + r * 256 + lane * 4;
    load4(twist, twist_re), load4(twist + 128, twist_im);
    const Matrix x = times<true>(transform.inverse(filtered), twist_re, twist_im);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      store_word(0, r, 2 * (g + 8 * (i % 2)) + i / 2, x.re[i]);
      store_word(1, r, 2 * (g + 8 * (i % 2)) + i / 2, x.im[i]);
    }
  }

  // The warp's parts through their transform, the filter and the inverse transform. spectrum: of this channel and signal,
  // [PARTS][2][32] of 4 words; conjugate: of the reversed filter.
  struct Parts {
    PartSpectrum filter;

    __device__ __forceinline__ Parts(const Monarch& m, const uint32_t* spectrum) { filter.load(m, spectrum, m.warp); }

    __device__ __forceinline__ void convolve(const Monarch& m, const PartTransform& transform, const uint32_t* spectrum, bool conjugate) {
      static_assert(!GROUPED);
      const uint32_t sign = conjugate ? 0x80008000u : 0;
#pragma unroll 1
      for (int r = m.warp; r < PARTS; r += WARPS) {
        const Matrix transformed = transform(m, r);
#pragma unroll
        for (int i = 0; i < 4; ++i) filter.im[i] ^= sign;
        const Matrix filtered = times<false>(transformed, filter.re, filter.im);
        if (r + WARPS < PARTS) filter.load(m, spectrum, r + WARPS);
        m.store_part(transform, r, filtered);
      }
    }
  };

  // The same for two segments: spectrum [2][PARTS][2][32] of 4 words, A and B. A warp has pairs of opposite parts, r and -r.
  struct PairsOfParts {
    PartSpectrum A, B;

    // Part 0 and PARTS / 2 are their own opposites, and the first pair.
    static __device__ __forceinline__ int second(int r) { return r ? PARTS - r : PARTS / 2; }
    __device__ __forceinline__ void load(const Monarch& m, const uint32_t* spectrum, int r) {
      A.load(m, spectrum, r), B.load(m, spectrum + SIZES.size(), r);
    }
    __device__ __forceinline__ PairsOfParts(const Monarch& m, const uint32_t* spectrum) { load(m, spectrum, m.warp); }

    __device__ __forceinline__ Matrix filtered(const Matrix& x, const Matrix& opposite, uint32_t sign) {
      // Of the reversed filters, conj(A) and -conj(B).
#pragma unroll
      for (int i = 0; i < 4; ++i) A.im[i] ^= sign, B.re[i] ^= sign;
      Matrix y = times<false>(x, A.re, A.im);
      add_product<true>(opposite, B.re, B.im, y);
      return y;
    }
    __device__ __forceinline__ void convolve(const Monarch& m, const PartTransform& transform, const uint32_t* spectrum, bool conjugate) {
      static_assert(!GROUPED);
      const uint32_t sign = conjugate ? 0x80008000u : 0;
#pragma unroll 1
      for (int r = m.warp; r < PARTS / 2; r += WARPS) {
        const Matrix x = transform(m, r), other = transform(m, second(r));
        Matrix of_x, of_other;
        if (r == 0) {
          of_x = m.reversed_part_0(x), of_other = reversed(other);
        } else {
          of_x = reversed(other), of_other = reversed(x);
        }
        const Matrix y = filtered(x, of_x, sign);
        load(m, spectrum, second(r));
        m.store_part(transform, r, y);
        const Matrix z = filtered(other, of_other, sign);
        if (r + WARPS < PARTS / 2) load(m, spectrum, r + WARPS);
        m.store_part(transform, second(r), z);
      }
    }
  };

  // What part -r has at frequency -(r + PARTS f), for r > 0: x[255 - f], which is row 15 - f1, column 15 - f2.
  static __device__ __forceinline__ Matrix reversed(const Matrix& x) {
    auto of = [](uint32_t word) {
      const uint32_t other = __shfl_xor_sync(~0u, word, 31);
      return other << 16 | other >> 16;
    };
    Matrix y;
#pragma unroll
    for (int i = 0; i < 4; ++i) y.re[i] = of(x.re[3 - i]), y.im[i] = of(x.im[3 - i]);
    return y;
  }
  // The same for part 0, x[-f], by way of its row.
  __device__ __forceinline__ Matrix reversed_part_0(const Matrix& x) const {
    auto value = [&](int plane, int f) { return reinterpret_cast<uint16_t*>(at(plane, 0, f / 8)) + f % 8; };
    auto frequency = [&](int i, int j) { return g + 8 * (i % 2) + 16 * (8 * (i / 2) + 2 * q + j); };
    Matrix y;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t word = i < 4 ? x.re[i % 4] : x.im[i % 4];
      *value(i / 4, frequency(i % 4, 0)) = uint16_t(word), *value(i / 4, frequency(i % 4, 1)) = uint16_t(word >> 16);
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t low = *value(i / 4, -frequency(i % 4, 0) & 255), high = *value(i / 4, -frequency(i % 4, 1) & 255);
      (i < 4 ? y.re[i % 4] : y.im[i % 4]) = low | high << 16;
    }
    return y;
  }

  // Rows a < PARTS / 2 of the planes become the convolution.
  __device__ __forceinline__ void unfold(const FoldMatrices& left) const {
#pragma unroll 1
    for (int tile = warp; tile < 16; tile += WARPS) {
      if constexpr (PARTS == 8) {
        uint32_t x[4];
        load_transposed(x, at(lane / 8 % 2, lane % 8, 2 * tile + lane / 16));
        __syncwarp();
#pragma unroll
        for (int t = 0; t < 2; ++t) {
          float y[4] = {};  // row g: the real part of a = g for g < 4, the imaginary part of a = g - 4 for the others
          mma_f16(y, left.words[0], x[2 * t], x[2 * t + 1]);
          store_word(g / 4, g % 4, 2 * tile + t, pack_f16(y[0], y[1]));
        }
      } else if constexpr (PARTS == 16) {
        uint32_t re[4], im[4];
        load_rows(0, 0, tile, re), load_rows(1, 0, tile, im);
        __syncwarp();
        float y[2][4] = {};  // row g: the real part of a = g; row g + 8: its imaginary part
#pragma unroll
        for (int t = 0; t < 2; ++t) {
          mma_f16(y[t], left.words[0], re[2 * t], re[2 * t + 1]);
          mma_f16(y[t], left.words[1], im[2 * t], im[2 * t + 1]);
          store_word(0, g, 2 * tile + t, pack_f16(y[t][0], y[t][1]));
          store_word(1, g, 2 * tile + t, pack_f16(y[t][2], y[t][3]));
        }
      } else if constexpr (SIZES.two_levels()) {
        unfold_levels(left, tile);
      } else {
        uint32_t re[PARTS / 16][4], im[PARTS / 16][4];
#pragma unroll
        for (int k = 0; k < PARTS / 16; ++k) load_rows(0, 16 * k, tile, re[k]), load_rows(1, 16 * k, tile, im[k]);
        __syncwarp();
#pragma unroll 1
        for (int m = 0; m < PARTS / 32; ++m) {
          Accumulator y;
#pragma unroll
          for (int k = 0; k < PARTS / 16; ++k) {
            const FoldTile<true> f(*this, m, k);
#pragma unroll
            for (int t = 0; t < 2; ++t) f.add_product(re[k] + 2 * t, im[k] + 2 * t, y.re[t], y.im[t]);
          }
          store_rows(16 * m, tile, y.pack());
        }
      }
    }
  }

  // What stage() left becomes its convolution. Has a barrier before and after; what comes from memory is loaded in front of each barrier.
  __device__ __forceinline__ void convolve(const uint32_t* spectrum, bool conjugate) const {
    const FoldMatrices folding(*this, 0);
    __syncthreads();
    fold(folding);
    const PartTransform transform(*this);
    std::conditional_t<SEGMENTS == 1, Parts, PairsOfParts> parts(*this, spectrum);
    __syncthreads();
    parts.convolve(*this, transform, spectrum, conjugate);
    const FoldMatrices unfolding(*this, 1);
    __syncthreads();
    unfold(unfolding);
    __syncthreads();
  }

  // This thread's positions of the convolution, still scaled.
  __device__ __forceinline__ void read(int sweep, int b, uint32_t* words) const {
    load4(reinterpret_cast<const uint32_t*>(at(b, position(sweep) / 256, position(sweep) % 256 / 8)), words);
  }

  // Of the real (b = 0) or imaginary part of the block's signal: the sequence, and the position in it of position t. Computed anew where it
  // is needed, which costs less than the registers.
  static __device__ __forceinline__ Place place_of(const MixerChannel& channel, int b) {
    return channel.place(SEGMENTS == 1 ? int(blockIdx.x) * 2 + b : int(blockIdx.x));
  }
  static __device__ __forceinline__ int in_sequence(int b, int t) { return SEGMENTS == 1 ? t : b * SIZES.length() + t; }
  // Loads this thread's words of both parts from where its results will be.
  static __device__ __forceinline__ void load_kept(const MixerChannel& channel, int t, const BFloat16* y, uint32_t (*words)[4]) {
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      Place place = place_of(channel, b);
      place.length = place.extent;
      load_words<false>(y, place, in_sequence(b, t), words[b]);
    }
  }
  static __device__ __forceinline__ void store_kept(const MixerChannel& channel, int t, BFloat16* y, const uint32_t (*words)[4]) {
#pragma unroll
    for (int b = 0; b < 2; ++b) store_words<false>(y, place_of(channel, b), in_sequence(b, t), words[b]);
  }

  __device__ __forceinline__ int stage_signal(const MixerChannel& channel, int signal) const {
    return stage(
        channel.wide(),
        [&](auto wide, int b, int t) {
          return channel.template load_signal<decltype(wide)::value>(signal, place_of(channel, b), in_sequence(b, t));
        },
        [&](int b, int t, const SignalPositions& loaded, float* x) {
          channel.signal_values<false>(signal, loaded, place_of(channel, b), in_sequence(b, t), x);
        });
  }
  // x2 of COUNT sweeps.
  template <int COUNT>
  __device__ __forceinline__ void load_gates(const MixerChannel& channel, int first, Positions (*x)[2]) const {
    load_first(channel.wide(), [&](auto wide) {
#pragma unroll
      for (int k = 0; k < 2 * COUNT; ++k) {
        const int t = in_sequence(k % 2, position(first + k / 2));
        x[k / 2][k % 2] = channel.template load_gate<decltype(wide)::value>(place_of(channel, k % 2), t);
      }
    });
  }

  static __device__ __forceinline__ Monarch prepare(char* shared_memory, const uint32_t* constants, int group = 0) {
    constexpr int PLANE = SIZES.fold_bytes() / 32;  // of the fold's table, in 16 bytes; one of each group
    const int lane = threadIdx.x % 32;
    char* const fold_table = shared_memory + SIZES.exchange_bytes();
    for (int i = threadIdx.x; i < 2 * PLANE; i += THREADS) {
      const int of_others = GROUPS == 1 ? 0 : (i / PLANE * (GROUPS - 1) + group) * PLANE;
      reinterpret_cast<uint4*>(fold_table)[i] = reinterpret_cast<const uint4*>(constants + SIZES.fold())[i + of_others];
    }
    return {shared_memory,
            fold_table,
            reinterpret_cast<uint32_t*>(fold_table + SIZES.fold_bytes()),
            constants,
            int(threadIdx.x) / 32,
            lane,
            lane / 4,
            lane % 4,
            group};
  }

  static __device__ __forceinline__ void run(const MixerInputs<BFloat16>& in, const uint32_t* spectra, const float* scales,
                                             const uint32_t* constants, BFloat16* y, bool residual, int filter, bool conjugate) {
    M2BERT_SHARED_MEMORY(shared_memory);
    if (int(blockIdx.y) >= in.H) return fill_bias_row(in, blockIdx.y, blockIdx.x * THREADS + threadIdx.x, gridDim.x * THREADS, y);
    const Monarch m = prepare(shared_memory, constants);
    const MixerChannel channel{in, int(blockIdx.y)};
    uint32_t kept[KEPT_IN_OUTPUT ? 1 : SWEEPS][2][4];  // the residual convolution
    float residual_scale = 0;
#pragma unroll 1
    for (int signal = residual ? 1 : 0; signal >= 0; --signal) {
      const int e = m.stage_signal(channel, signal);
      const int row = channel.channel * 2 + (signal ^ filter);
      const float filter_scale = scales[row];
      m.convolve(spectra + size_t(row) * (SEGMENTS * SIZES.size()), conjugate);
      const float scale = filter_scale * power_of_two(e);
      if (signal == 1) {
        residual_scale = scale;
#pragma unroll
        for (int k = 0; k < SWEEPS; ++k) {
          uint32_t(*words)[4] = kept[KEPT_IN_OUTPUT ? 0 : k];
          m.read(k, 0, words[0]), m.read(k, 1, words[1]);
          if constexpr (KEPT_IN_OUTPUT) store_kept(channel, m.position(k), y, words);
        }
      } else {
#pragma unroll
        for (int first = 0; first < SWEEPS; first += AT_ONCE) {
          Positions gates[AT_ONCE][2];
          m.load_gates<AT_ONCE>(channel, first, gates);
#pragma unroll
          for (int k = first; k < first + AT_ONCE; ++k) {
            if (KEPT_IN_OUTPUT && residual) load_kept(channel, m.position(k), y, kept[0]);
#pragma unroll
            for (int b = 0; b < 2; ++b) {
              uint32_t words[4];
              float x2[8], out[8];
              m.read(k, b, words);
              channel.gate(gates[k - first][b], in_sequence(b, m.position(k)), x2);
#pragma unroll
              for (int i = 0; i < 4; ++i) {
                const float2 conv = unpack_f16(words[i]);
                out[2 * i] = x2[2 * i] * (conv.x * scale), out[2 * i + 1] = x2[2 * i + 1] * (conv.y * scale);
                if (residual) {
                  const float2 rest = unpack_f16(kept[KEPT_IN_OUTPUT ? 0 : k][b][i]);
                  out[2 * i] += rest.x * residual_scale, out[2 * i + 1] += rest.y * residual_scale;
                }
              }
              channel.template store<false>(place_of(channel, b), in_sequence(b, m.position(k)), out, y);
            }
          }
        }
      }
    }
  }

  // Adds the Hermitian part of this group's sums, which is the spectrum of a real signal, to spectrum [SIZES.size()], signal 1 times i: one
  // complex transform then returns signal 0 as the real part and signal 1 as the imaginary part. Conjugated, so that a forward FFT is the
  // inverse one. sums: of this thread, [parts][real, imaginary][8]. Neighbouring threads write neighbouring parts. Has a barrier before.
  __device__ __forceinline__ void add_hermitian_part(const float (*sums)[2][8], int signal, bool add, float2* spectrum) const {
    constexpr MonarchSizes sizes = SIZES;
    constexpr int OWN = sizes.own_parts(), COLUMNS = THREADS / OWN, PITCH = 257;
    float* const plane = reinterpret_cast<float*>(exchange);  // [OWN][PITCH], in columns that spread a warp's over the banks
    auto place = [&](int part, int f) { return part * PITCH + (f ^ (f >> 5 & 3) << 3); };
    const int own = threadIdx.x % OWN, part = sizes.part(group, own), opposite = sizes.opposite(group, own), last = part ? 255 : 256;
    float real[256 / COLUMNS][2];
#pragma unroll
    for (int component = 0; component < 2; ++component) {
      __syncthreads();
#pragma unroll
      for (int i = 0; i < OWN / WARPS; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          plane[place(warp + i * WARPS, g + 8 * (j / 2 % 2) + 16 * (2 * q + 8 * (j / 4) + j % 2))] = sums[i][component][j];
        }
      }
      __syncthreads();
#pragma unroll
      for (int i = 0; i < 256 / COLUMNS; ++i) {
        const int f = threadIdx.x / OWN + i * COLUMNS;
        const float other = plane[place(opposite, (last - f) & 255)];
        real[i][component] = 0.5f * (plane[place(own, f)] + (component ? -other : other));
      }
    }
#pragma unroll
    for (int i = 0; i < 256 / COLUMNS; ++i) {
      float2& to = spectrum[part + PARTS * (threadIdx.x / OWN + i * COLUMNS)];
      float2 value = signal ? float2{real[i][1], real[i][0]} : float2{real[i][0], -real[i][1]};
      if (add) value.x += to.x, value.y += to.y;
      to = value;
    }
  }

  // The spectrum of the filters' gradients, k's the real part of the signal and k2's the imaginary part: the sums over all sequences of
  // conj(transform of a convolution's input) times the transform of the gradient of its output, divided by the transform's size. A signal
  // is a row of sequences, `slot` positions from one to the next: at least as many zeros as a sequence has positions lie between two of
  // them, so that their lags do not mix. gradient [SIZES.size()]: of this channel, whose blocks have a group each.
  static __device__ __forceinline__ void filter_gradient(const MixerInputs<BFloat16>& in, const BFloat16* dy, const uint32_t* constants,
                                                         int channel, int filters, int group, int slot, float2* gradient) {
    M2BERT_SHARED_MEMORY(shared_memory);
    const Monarch m = prepare(shared_memory, constants, group);
    const MixerChannel rows{in, channel};
    constexpr bool SEVERAL = PARTS == 8;  // sequences in a signal: longer transforms are of longer sequences
    int log = 0;
    while (SEVERAL && 1 << log < slot) ++log;
    const int in_signal = SEVERAL ? SIZES.length() >> log : 1;
    constexpr int OWN = SIZES.own_parts() / WARPS;
#pragma unroll 1
    for (int signal = 0; signal < filters; ++signal) {
      float sums[OWN][2][8] = {};
#pragma unroll 1
      for (int first = 0; first < in.B; first += 2 * in_signal) {
        Matrix input[OWN];
        auto place = [&](int b, int t) { return rows.place(SEVERAL ? first + b * in_signal + (t >> log) : first + b); };
        auto position = [&](int t) { return SEVERAL ? t & (slot - 1) : t; };
        const int e = m.stage(
            rows.wide(),
            [&](auto wide, int b, int t) {
              constexpr bool WIDE = decltype(wide)::value;
              if constexpr (GROUPED) return rows.template load_row<WIDE>(signal ? in.u : in.x1, place(b, t), position(t));
              else return rows.template load_signal<WIDE>(signal, place(b, t), position(t));
            },
            [&](int b, int t, const SignalPositions& loaded, float* x) {
              rows.signal_values<false>(GROUPED ? 1 : signal, loaded, place(b, t), position(t), x);
            });
        const FoldMatrices folding(m, 0);
        __syncthreads();
        m.fold(folding);
        __syncthreads();
        {
          const PartTransform transform(m);
#pragma unroll
          for (int i = 0; i < OWN; ++i) input[i] = transform(m, m.warp + i * WARPS);
        }
        const int e2 = m.stage(
            rows.wide(),
            [&](auto wide, int b, int t) {
              constexpr bool WIDE = decltype(wide)::value;
              if constexpr (GROUPED) return rows.template load_row<WIDE>(signal ? dy : in.x2, place(b, t), position(t));
              else return rows.template load_gradient<WIDE>(dy, signal, place(b, t), position(t));
            },
            [&](int b, int t, const SignalPositions& loaded, float* x) {
              rows.gradient_values<false>(GROUPED ? 1 : signal, loaded, place(b, t), position(t), x);
            });
        __syncthreads();
        m.fold(folding);
        __syncthreads();
        const float scale = power_of_two(e) * power_of_two(e2);
        const PartTransform transform(m);
#pragma unroll
        for (int i = 0; i < OWN; ++i) {
          const Matrix output = transform(m, m.warp + i * WARPS);
#pragma unroll
          for (int word = 0; word < 4; ++word) {
            const float2 a = unpack_f16(input[i].re[word]), b = unpack_f16(input[i].im[word]);
            const float2 c = unpack_f16(output.re[word]), d = unpack_f16(output.im[word]);
            const float2 re = {scale * (a.x * c.x + b.x * d.x), scale * (a.y * c.y + b.y * d.y)};
            const float2 im = {scale * (a.x * d.x - b.x * c.x), scale * (a.y * d.y - b.y * c.y)};
            auto add = [](float& sum, float x) { sum = GROUPED ? x : sum + x; };
            add(sums[i][0][2 * word], re.x), add(sums[i][0][2 * word + 1], re.y);
            add(sums[i][1][2 * word], im.x), add(sums[i][1][2 * word + 1], im.y);
          }
        }
        if (GROUPED) m.add_hermitian_part(sums, signal, first > 0 || signal > 0, gradient);
      }
      if (!GROUPED) m.add_hermitian_part(sums, signal, signal > 0, gradient);
    }
  }
};

}  // namespace

// Grid: pairs of sequences, or sequences of two segments; rows of y. spectra, scales from mixer_monarch_spectra; constants:
// monarch_constants(core_sizes()). filter: which of the two the gated convolution has; conjugate: the reversed filters.
#define MIXER_MONARCH(length, blocks)                                                                                                      \
  extern "C" __global__ void __launch_bounds__(32 * core_sizes(length).warps, blocks)                                                      \
      mixer_monarch_##length(MIXER_INPUTS(BFloat16), const uint32_t* spectra, const float* scales, const uint32_t* constants,              \
                             const int* sequences, BFloat16* y, MIXER_SIZES, bool residual, int filter, bool conjugate) {                  \
    constexpr MonarchSizes sizes = core_sizes(length);                                                                                     \
    Monarch<sizes.parts, segments_of(length), 1, sizes.warps>::run(mixer_inputs(x1, x2, v, u, short_filter, sequences, MIXER_SIZES_GIVEN), \
                                                                   spectra, scales, constants, y, residual, filter, conjugate);            \
  }

// Grid: groups, channels. Where there are several groups, x1 and x2 are the rows of mixer_local_gradient_gated_rows. filters: 1 or 2;
// gradients [H, size of the transform]; constants: monarch_constants of filter_gradient_sizes().
#define MIXER_FILTER_GRADIENT(length, blocks)                                                                                         \
  extern "C" __global__ void __launch_bounds__(32 * filter_gradient_sizes(length).warps, blocks)                                      \
      mixer_filter_gradient_##length(MIXER_INPUTS(BFloat16), const BFloat16* dy, const uint32_t* constants, const int* sequences,     \
                                     float2* gradients, MIXER_SIZES, int filters, int slot) {                                         \
    constexpr MonarchSizes sizes = filter_gradient_sizes(length);                                                                     \
    Monarch<sizes.parts, 1, sizes.groups, sizes.warps>::filter_gradient(                                                              \
        mixer_inputs(x1, x2, v, u, short_filter, sequences, MIXER_SIZES_GIVEN), dy, constants, blockIdx.y, filters, blockIdx.x, slot, \
        gradients + size_t(blockIdx.y) * sizes.size());                                                                               \
  }
#if defined(FILTER_GRADIENT)
#if FILTER_GRADIENT == 1024 || FILTER_GRADIENT == 0
MIXER_FILTER_GRADIENT(1024, 6)
#endif
#if FILTER_GRADIENT == 2048 || FILTER_GRADIENT == 0
MIXER_FILTER_GRADIENT(2048, 2)
#endif
#if FILTER_GRADIENT == 4096 || FILTER_GRADIENT == 0
MIXER_FILTER_GRADIENT(4096, 1)
#endif
#if FILTER_GRADIENT == 8192 || FILTER_GRADIENT == 0
MIXER_FILTER_GRADIENT(8192, 1)
#endif
#if FILTER_GRADIENT == 16384 || FILTER_GRADIENT == 0
MIXER_FILTER_GRADIENT(16384, 1)
#endif
#if FILTER_GRADIENT == 32768 || FILTER_GRADIENT == 0
MIXER_FILTER_GRADIENT(32768, 1)
#endif
#endif

// MIXER_LENGTH: compiles only this kernel; 0: only the spectra; -1: nothing. FILTER_GRADIENT: a length; 0: all.
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 1024
MIXER_MONARCH(1024, 8)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 2048
MIXER_MONARCH(2048, 7)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 4096
MIXER_MONARCH(4096, 3)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 8192
MIXER_MONARCH(8192, 4)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 16384
MIXER_MONARCH(16384, 2)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 32768
MIXER_MONARCH(32768, 1)
#endif

#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 0

// The taps of both filters by their lag, [H, 2, kinds, size]: what the spectra are the transform of. For one segment there is one kind,
// the filter; for two segments of size / 2 positions three, f_0 and half of f_1 - f_-1 and f_1 + f_-1. Grid: tiles of 32 lags, of 32
// channels of each filter, for f_0 and for the others. k, k_rev, k2, k2_rev [L, H]; D, D2 [H].
extern "C" __global__ void __launch_bounds__(256)
    mixer_lags(const float* k, const float* k_rev, const float* k2, const float* k2_rev, const float* D, const float* D2, float* lags,
               int H, int L, int size, int segments, bool bidirectional) {
  M2BERT_SHARED_MEMORY(shared_memory);
  constexpr int PITCH = 33, TILE = 32 * PITCH;
  float* const tile = reinterpret_cast<float*>(shared_memory);  // [2][32 lags][PITCH]
  const int channel_tiles = (H + 31) / 32, signal = blockIdx.y / channel_tiles, lane = threadIdx.x % 32, row = threadIdx.x / 32;
  const int first_channel = blockIdx.y % channel_tiles * 32, first_lag = blockIdx.x * 32, filter = signal / segments;
  const bool across = signal % segments == 1;
  const float *forward = filter ? k2 : k, *backward = filter ? k2_rev : k_rev;
  const int h = first_channel + lane;
  auto tap = [&](int lag) {
    float value = 0;
    if (h < H && lag >= 0 && lag < L) value = forward[size_t(lag) * H + h];
    if (h < H && lag == 0) value += (filter ? D2 : D)[h];
    if (h < H && lag < 0 && -lag < L && bidirectional) value = backward[size_t(-lag - 1) * H + h];
    return value;
  };
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int i = row + 8 * j, place = first_lag + i, lag = place < size / 2 ? place : place - size;
    float* const to = tile + i * PITCH + lane;
    if (across) {
      const float after = 0.5f * tap(lag + size / 2), before = 0.5f * tap(lag - size / 2);
      to[0] = after - before, to[TILE] = after + before;
    } else {
      *to = tap(lag);
    }
  }
  __syncthreads();
  const int kinds = 2 * segments - 1;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int i = row + 8 * j, channel = first_channel + i;
    if (channel >= H || first_lag + lane >= size) continue;
    float* const to = lags + (size_t(channel * 2 + filter) * kinds + across) * size + first_lag + lane;
    to[0] = tile[lane * PITCH + i];
    if (across) to[size] = tile[TILE + lane * PITCH + i];
  }
}

// What the filters' spectra are made of: their transforms, [H, 2, kinds, size / 2 + 1] for the kinds of mixer_lags.
struct FilterTransforms {
  const float2* of_filter;
  int size, segments;

  __device__ __forceinline__ FilterTransforms(const float2* all, int channel, int filter, int size, int segments)
      : of_filter(all + (size_t(channel) * 2 + filter) * (2 * segments - 1) * (size / 2 + 1)), size(size), segments(segments) {}

  // A (segment 0) or B at k <= size / 2, or at -k. One segment has B = 0, and A is the filter's own spectrum.
  __device__ __forceinline__ float2 spectrum(int segment, int k, bool opposite) const {
    const int kind = size / 2 + 1;
    if (segment == 1) {
      const float2 f = of_filter[k + 2 * kind];
      return {opposite ? f.y : -f.y, f.x};
    }
    const float2 f = of_filter[k];
    float2 d = {0, 0};
    if (segments == 2) d = of_filter[k + kind];
    return opposite ? float2{f.x + d.y, d.x - f.y} : float2{f.x - d.y, f.y + d.x};
  }
};

// 2^e by which the result of each filter is multiplied, [H, 2]. Grid: filters, channels.
extern "C" __global__ void __launch_bounds__(512) mixer_monarch_scales(const float2* transform, float* scales, int size, int segments) {
  M2BERT_SHARED_MEMORY(shared_memory);
  uint32_t* const maxima = reinterpret_cast<uint32_t*>(shared_memory);
  const FilterTransforms in(transform, blockIdx.y, blockIdx.x, size, segments);
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  float largest = 0;
  for (int segment = 0; segment < segments; ++segment) {
#pragma unroll 4
    for (int k = threadIdx.x; k <= size / 2; k += blockDim.x) {
      const float2 v = in.spectrum(segment, k, false), w = in.spectrum(segment, k, true);
      largest = fmaxf(largest, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(w.x), fabsf(w.y))));
    }
  }
  const uint32_t own = warp_max(__float_as_uint(largest));
  if (lane == 0) maxima[threadIdx.x / 32] = own;
  __syncthreads();
  const uint32_t bits = warp_max(maxima[lane % warps]);
  // |x| <= 1 in both parts of size / 2 positions has an L2 norm of sqrt(size); |spectrum| <= 1.5 * 2^e, and there is one for each segment.
  int headroom = 15 - segments;
  for (int n = 1; n < size; n *= 4) --headroom;
  if (threadIdx.x == 0) scales[blockIdx.y * 2 + blockIdx.x] = power_of_two(PowerOfTwo(bits).e - headroom);
}

// The filters' spectra as the kernels above take them: packed [H, 2, segments, size], then [H, 2] of scales. Grid: tiles of parts for each
// filter and segment; channels.
extern "C" __global__ void __launch_bounds__(256)
    mixer_monarch_spectra(const float2* transform, const float* scales, uint32_t* packed, int size, int segments) {
  M2BERT_SHARED_MEMORY(shared_memory);
  constexpr int PITCH = SpectraTile::PITCH;
  uint32_t* const tile = reinterpret_cast<uint32_t*>(shared_memory);  // [parts][PITCH]: float16 by frequency
  auto place = [](int part, int f) { return part * PITCH + f + (f >> 5) * 4; };
  const int parts = size / 256, own_parts = SpectraTile::parts(parts), tiles = parts / own_parts;
  const int filter = blockIdx.x / (tiles * segments), segment = blockIdx.x / tiles % segments, first = blockIdx.x % tiles * own_parts;
  const FilterTransforms in(transform, blockIdx.y, filter, size, segments);
  const size_t index = size_t(blockIdx.y) * 2 + filter;
  const float scale = 1 / scales[index];
#pragma unroll 4
  for (int i = threadIdx.x; i < own_parts * 256; i += 256) {
    const int part = i % own_parts, f = i / own_parts, k = first + part + parts * f;
    const float2 v = in.spectrum(segment, k <= size / 2 ? k : size - k, k > size / 2);
    tile[place(part, f)] = pack_f16(v.x * scale, v.y * scale);
  }
  __syncthreads();
  uint32_t* const out = packed + (index * segments + segment) * size + first * 256;
#pragma unroll 4
  for (int i = threadIdx.x; i < own_parts * 128; i += 256) {
    const int part = i / 128, l = i / 4 % 32, word = i % 4;
    const int f = l / 4 + 8 * (word % 2) + 16 * (2 * (l % 4) + 8 * (word / 2));
    const uint32_t low = tile[place(part, f)], high = tile[place(part, f + 16)];
    out[part * 256 + i % 128] = (low & 0xffff) | high << 16;
    out[part * 256 + 128 + i % 128] = low >> 16 | (high & 0xffff0000u);
  }
  if (threadIdx.x == 0) packed[size_t(gridDim.y) * 2 * segments * size + index] = __float_as_uint(scales[index]);
}
#endif

}  // namespace m2bert::ops::cuda
