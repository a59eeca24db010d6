#pragma once
// The Fourier transform of the mixer's long convolutions as products of Monarch matrices, on tensor cores in float16.
//
// A complex signal x of 256 a + o, a < PARTS / 2, is extended by zeros to PARTS * 256 values. Its transform has three steps:
//   fold    Z_r[o] = exp(-2 pi i r o / (256 PARTS)) sum over a of exp(-2 pi i r a / PARTS) x[256 a + o]: a matrix product for columns o
//   parts   for each r, a transform of 256 values, 16 x 16, as two matrix products with a twiddle between; it stays in a warp's registers
//           through the filter and the inverse transform
//   unfold  the adjoint of the fold, for the positions of x alone
// Each factor is unitary, and inputs and spectra are scaled by powers of two, so that nothing can exceed float16's range.
//
//   part r       the frequencies r + PARTS f, f = f1 + 16 f2 < 256
//   plane        [rows()][ROW] float16 in shared memory, of real or of imaginary parts: rows a before the fold, r after it
//   tile, chunk  16 and 8 columns of a plane; a chunk is 16 bytes
//   sweep        8 positions for each thread
//   group        the parts of a block, where several blocks share a transform
//   word         two float16; g = lane / 4 and q = lane % 4, as in PTX's mma.m16n8k16
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

// (re, im) *= (cos, sin)
__device__ __forceinline__ void rotate(uint32_t& re, uint32_t& im, uint32_t cos, uint32_t sin) {
  const uint32_t before = re;
  re = fma_f16(before, cos, neg_f16(mul_f16(im, sin)));
  im = fma_f16(before, sin, mul_f16(im, cos));
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

template <int PARTS, int GROUPS, int WARPS>
struct Monarch {
  static constexpr MonarchSizes SIZES{PARTS, GROUPS, WARPS};
  static constexpr int THREADS = 32 * WARPS, SWEEPS = SIZES.positions() / (8 * THREADS);
  static constexpr int AT_ONCE = SWEEPS < 2 ? 1 : 2;  // sweeps whose inputs are loaded together
  static_assert(SWEEPS % AT_ONCE == 0);
  // Blocks share a transform, of sequences so long that there are few. Registers cannot hold all sweeps of a signal. Each block would
  // compute the gated signals again, so they come from memory.
  static constexpr bool GROUPED = GROUPS > 1;

  char* exchange;  // planes of the real and of the imaginary parts, [rows][ROW] float16
  const char* fold_table;
  uint32_t* maxima;
  const uint32_t* constants;
  int warp, lane, g, q, group;

  // A chunk of a row of a plane. Chunks are permuted so that the eight addresses of an ldmatrix are in different banks: of neighbouring
  // rows, and of two levels also of rows 8 and 16 apart.
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
    // GROUPED: values are stored before their common scale is known, and rescaled where they are. A byte for the exponent of each sweep.
    static_assert(!GROUPED || SWEEPS <= 8);
    [[maybe_unused]] constexpr int UNROLLED = GROUPED ? 1 : SWEEPS;
    uint32_t kept[GROUPED ? 1 : SWEEPS][2][4];
    int exponents[GROUPED ? 1 : SWEEPS];
    uint64_t packed_exponents = 0;
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
        const int exponent = exponent_above(__float_as_uint(most));
        if constexpr (GROUPED) packed_exponents |= uint64_t(exponent & 255) << 8 * k;
        else exponents[k] = exponent;
        const float scale = power_of_two(-exponent);
        auto& words = kept[GROUPED ? 0 : k];
#pragma unroll
        for (int i = 0; i < 8; ++i) words[i / 4][i % 4] = pack_f16(x[i / 4][2 * (i % 4)] * scale, x[i / 4][2 * (i % 4) + 1] * scale);
        if constexpr (GROUPED) store_positions(k, words);
      }
    }
    const int e = exponent_above(block_max(largest));
#pragma unroll UNROLLED
    for (int k = 0; k < SWEEPS; ++k) {
      int exponent;
      if constexpr (GROUPED) exponent = int8_t(packed_exponents >> 8 * k);
      else exponent = exponents[k];
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
  // Rows first, first + step ..., eight of both planes, as a right matrix.
  __device__ __forceinline__ void load_both_planes(int first, int step, int tile, uint32_t* words) const {
    load_transposed(words, at(lane / 8 % 2, first + step * (lane % 8), 2 * tile + lane / 16));
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
    return constants + SIZES.twists_by_tile() + (tile * (PARTS / 16) + group * (SIZES.own_parts() / 16) + m) * 256 + lane * 4;
  }
  __device__ __forceinline__ Matrix twisted(const Matrix& x, int tile, int m) const {
    uint32_t re[4], im[4];
    const uint32_t* twist = twists(tile, m);
    load4(twist, re), load4(twist + 128, im);
    return times<false>(x, re, im);
  }
  // Rows 16 m, columns 16 k of the fold's matrix, or of its adjoint.
  template <bool adjoint>
  struct FoldTile {
    uint32_t re[4], im[4];

    __device__ __forceinline__ FoldTile(const Monarch& fold, int m, int k) { load(fold, 0, m, k, re), load(fold, 1, m, k, im); }
    static __device__ __forceinline__ void load(const Monarch& fold, int plane, int m, int k, uint32_t* words) {
      const char* table = fold.fold_table + plane * (SIZES.fold_bytes() / 2);
      const int lane = fold.lane;
      if (adjoint) {
        load_transposed(words, table + ((16 * k + lane / 16 * 8 + lane % 8) * SIZES.fold_row() + 16 * m + lane / 8 % 2 * 8) * 2);
      } else {
        load_matrices(words, table + ((16 * m + lane % 16) * SIZES.fold_row() + 16 * k + lane / 16 * 8) * 2);
      }
    }
    // y += the product with x, two words each of 8 columns.
    __device__ __forceinline__ void add_product(const uint32_t* x_re, const uint32_t* x_im, float* y_re, float* y_im) const {
      mma_f16(y_re, re, x_re[0], x_re[1]);
      mma_f16(y_im, re, x_im[0], x_im[1]);
      mma_f16(y_re, im, adjoint ? x_im[0] : negated(x_im[0]), adjoint ? x_im[1] : negated(x_im[1]));
      mma_f16(y_im, im, adjoint ? negated(x_re[0]) : x_re[0], adjoint ? negated(x_re[1]) : x_re[1]);
    }
  };

  // What a lane keeps of the left matrices of fold(), or of their adjoints for unfold(): all of a small fold, the one over a0 of two
  // levels; else nothing. Loaded before the barrier in front of its use.
  struct FoldRegisters {
    uint32_t words[PARTS == 16 ? 2 : 1][4];

    __device__ __forceinline__ FoldRegisters(const Monarch& m, bool adjoint) {
      if constexpr (SIZES.small()) {
#pragma unroll
        for (int i = 0; i < PARTS / 8; ++i) load4(m.constants + SIZES.fold() + (adjoint * (PARTS / 8) + i) * 128 + m.lane * 4, words[i]);
      } else if constexpr (SIZES.two_levels()) {
        load4(m.constants + SIZES.fold() + SIZES.inner_words() + adjoint * 128 + m.lane * 4, words[0]);
      }
    }
  };

  // The product of the fold's matrix, or of its adjoint, with a tile's columns, in place.
  template <bool adjoint>
  __device__ __forceinline__ void multiply_tile(int tile) const {
    constexpr int IN = adjoint ? PARTS / 16 : PARTS / 32, OUT = adjoint ? PARTS / 32 : SIZES.own_parts() / 16;
    uint32_t re[IN][4], im[IN][4];
#pragma unroll
    for (int k = 0; k < IN; ++k) load_rows(0, 16 * k, tile, re[k]), load_rows(1, 16 * k, tile, im[k]);
    __syncwarp();
#pragma unroll 1
    for (int m = 0; m < OUT; ++m) {
      Accumulator y;
#pragma unroll
      for (int k = 0; k < IN; ++k) {
        const FoldTile<adjoint> f(*this, m, k);
#pragma unroll
        for (int t = 0; t < 2; ++t) f.add_product(re[k] + 2 * t, im[k] + 2 * t, y.re[t], y.im[t]);
      }
      store_rows(16 * m, tile, adjoint ? y.pack() : twisted(y.pack(), tile, m));
    }
  }

  // The same for the fold of 8 columns, which takes half the registers.
  __device__ __forceinline__ void fold_chunk(int chunk) const {
    uint32_t re[PARTS / 64][4], im[PARTS / 64][4];  // 32 rows each
#pragma unroll
    for (int k = 0; k < PARTS / 64; ++k)
      load_transposed(re[k], at(0, 32 * k + lane, chunk)), load_transposed(im[k], at(1, 32 * k + lane, chunk));
    __syncwarp();
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
        uint32_t re = pack_f16(y_re[2 * i], y_re[2 * i + 1]), im = pack_f16(y_im[2 * i], y_im[2 * i + 1]);
        rotate(re, im, twist[i], twist[128 + i]);
        store_word(0, 16 * m + g + 8 * i, chunk, re), store_word(1, 16 * m + g + 8 * i, chunk, im);
      }
    }
  }

  // The fold of 128 parts, a = 8 a1 + a0 < 64 and r = 16 r1 + r0, has two levels:
  //   over a1  T[a0][r0] = sum over a1 of exp(-2 pi i r0 (8 a1 + a0) / 128) x[8 a1 + a0]: 16 x 8 complex matrices, one for each a0
  //   over a0  Z[16 r1 + r0] = sum over a0 of exp(-2 pi i r1 a0 / 8) T[a0][r0]: one 8 x 8 complex matrix, in registers
  // Row 8 a1 + a0 of the planes becomes T in row 16 a0 + r0, and that becomes Z in row 16 r1 + r0. unfold_levels is the adjoint.

  // Of the product over a1 for an a0, or of its adjoint: two left matrices.
  __device__ __forceinline__ void load_inner_matrices(bool adjoint, int a0, uint32_t (&words)[2][4]) const {
    const auto* table = reinterpret_cast<const uint32_t*>(fold_table) + adjoint * (SIZES.inner_words() / 2) + a0 * 256 + lane * 4;
    load4(table, words[0]), load4(table + 128, words[1]);
  }
  // The product over a0 or its adjoint, in place in rows 16 k + r0 for each r0. with_twist: whether results get the fold's factors.
  template <bool with_twist>
  __device__ __forceinline__ void product_over_a0(const FoldRegisters& left, int tile) const {
    constexpr int ROWS = 4;
#pragma unroll 1
    for (int first = 0; first < 16; first += ROWS) {
      uint32_t x[ROWS][4], factors[ROWS][4];
#pragma unroll
      for (int i = 0; i < ROWS; ++i) {
        load_both_planes(first + i, 16, tile, x[i]);
        if (with_twist) load4(constants + SIZES.twists_by_tile() + (tile * 16 + first + i) * 128 + lane * 4, factors[i]);
      }
      __syncwarp();
#pragma unroll
      for (int i = 0; i < ROWS; ++i) {
#pragma unroll
        for (int t = 0; t < 2; ++t) {
          float y[4] = {};  // row g: the real part of row 16 g + r0; row g + 8: its imaginary part
          mma_f16(y, left.words[0], x[i][2 * t], x[i][2 * t + 1]);
          uint32_t re = pack_f16(y[0], y[1]), im = pack_f16(y[2], y[3]);
          if (with_twist) rotate(re, im, factors[i][t], factors[i][t + 2]);
          store_word(0, 16 * g + first + i, 2 * tile + t, re);
          store_word(1, 16 * g + first + i, 2 * tile + t, im);
        }
      }
    }
  }
  __device__ __forceinline__ void fold_levels(const FoldRegisters& left, int tile) const {
    uint32_t x[8][4];
#pragma unroll
    for (int a0 = 0; a0 < 8; ++a0) load_both_planes(a0, 8, tile, x[a0]);
    __syncwarp();
#pragma unroll
    for (int a0 = 0; a0 < 8; ++a0) {
      uint32_t matrices[2][4];
      load_inner_matrices(false, a0, matrices);
      Accumulator y;
#pragma unroll
      for (int t = 0; t < 2; ++t) {
        mma_f16(y.re[t], matrices[0], x[a0][2 * t], x[a0][2 * t + 1]);
        mma_f16(y.im[t], matrices[1], x[a0][2 * t], x[a0][2 * t + 1]);
      }
      store_rows(16 * a0, tile, y.pack());
    }
    __syncwarp();
    product_over_a0<true>(left, tile);
  }
  __device__ __forceinline__ void unfold_levels(const FoldRegisters& left, int tile) const {
    product_over_a0<false>(left, tile);
    __syncwarp();
    uint32_t words[8][2][2];
#pragma unroll
    for (int a0 = 0; a0 < 8; ++a0) {
      uint32_t re[4], im[4], matrices[2][4];
      load_rows(0, 16 * a0, tile, re), load_rows(1, 16 * a0, tile, im);
      load_inner_matrices(true, a0, matrices);
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

  __device__ __forceinline__ void fold(const FoldRegisters& left) const {
#pragma unroll 1
    for (int tile = warp; tile < 16; tile += WARPS) {
      if constexpr (PARTS == 8) {
        uint32_t twist[4], x[4];
        load4(constants + SIZES.twists_by_tile() + tile * 128 + lane * 4, twist);
        load_transposed(x, at(lane / 4 % 2, lane % 4, 2 * tile + lane / 16));
        __syncwarp();
#pragma unroll
        for (int t = 0; t < 2; ++t) {
          float y[4] = {};  // row g: the real part of part g; row g + 8: its imaginary part
          mma_f16(y, left.words[0], x[2 * t], 0);
          uint32_t re = pack_f16(y[0], y[1]), im = pack_f16(y[2], y[3]);
          rotate(re, im, twist[t], twist[t + 2]);
          store_word(0, g, 2 * tile + t, re), store_word(1, g, 2 * tile + t, im);
        }
      } else if constexpr (PARTS == 16) {
        uint32_t x[4];
        load_both_planes(0, 1, tile, x);
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
        multiply_tile<false>(tile);
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
      load4(m.constants + SIZES.part_twiddles() + m.lane * 4, twiddle_re);
      load4(m.constants + SIZES.part_twiddles() + 128 + m.lane * 4, twiddle_im);
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

  // The inverse transform of a part, into its row.
  __device__ __forceinline__ void store_part(const PartTransform& transform, int r, const Matrix& filtered) const {
    uint32_t twist_re[4], twist_im[4];
    const uint32_t* twist = constants + SIZES.twists_by_part() + r * 256 + lane * 4;
    load4(twist, twist_re), load4(twist + 128, twist_im);
    const Matrix x = times<true>(transform.inverse(filtered), twist_re, twist_im);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      store_word(0, r, 2 * (g + 8 * (i % 2)) + i / 2, x.re[i]);
      store_word(1, r, 2 * (g + 8 * (i % 2)) + i / 2, x.im[i]);
    }
  }

  // Of frequencies f of part r, which is not 0, in the order of their opposites: x[255 - f], row 15 - f1, column 15 - f2.
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
  __device__ __forceinline__ void unfold(const FoldRegisters& left) const {
    static_assert(!GROUPED);
#pragma unroll 1
    for (int tile = warp; tile < 16; tile += WARPS) {
      if constexpr (PARTS == 8) {
        uint32_t x[4];
        load_both_planes(0, 1, tile, x);
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
        multiply_tile<true>(tile);
      }
    }
  }

  // This thread's positions of the convolution, still scaled.
  __device__ __forceinline__ void read(int sweep, int b, uint32_t* words) const {
    load4(reinterpret_cast<const uint32_t*>(at(b, position(sweep) / 256, position(sweep) % 256 / 8)), words);
  }

  // Copies this group's part of the fold's table to shared memory. stage() has a barrier before its first use.
  static __device__ __forceinline__ Monarch prepare(char* shared_memory, const uint32_t* constants, int group = 0) {
    constexpr int PLANE = SIZES.fold_bytes() / 32;  // of the fold's table, in 16 bytes; one of each group
    const int lane = threadIdx.x % 32;
    char* const fold_table = shared_memory + SIZES.exchange_bytes();
    for (int i = threadIdx.x; i < 2 * PLANE; i += THREADS) {
      const int offset = GROUPS == 1 ? 0 : (i / PLANE * (GROUPS - 1) + group) * PLANE;
      reinterpret_cast<uint4*>(fold_table)[i] = reinterpret_cast<const uint4*>(constants + SIZES.fold())[i + offset];
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
};

}  // namespace

}  // namespace m2bert::ops::cuda
