#pragma once
// The sizes and constants of monarch_transform.cuh, in the order in which the lanes of a warp hold them. Host code.
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "m2bert/ops/backend/cuda/scalar.cuh"

namespace m2bert::ops::cuda {

// Sizes of a transform of 256 * parts values, for a complex signal of up to 128 * parts positions. Its real and imaginary parts are
// segments: two sequences, or the halves of one. groups > 1: that many blocks share a transform; each has -r for every part r.
struct MonarchSizes {
  int parts, groups, warps;
  static constexpr int ROW = 264;  // float16 values from one part to the next in shared memory
  M2BERT_DEVICE constexpr int size() const { return 256 * parts; }
  M2BERT_DEVICE constexpr int positions() const { return 128 * parts; }  // of a segment
  M2BERT_DEVICE constexpr int own_parts() const { return parts / groups; }
  // The i-th one of a group: a range, and the range of their opposites. 0 and parts / 2 are their own.
  M2BERT_DEVICE constexpr int part(int group, int i) const {
    const int half = own_parts() / 2, r = group * half + i % half;
    return groups == 1 ? i : i < half ? r : r ? parts - r : parts / 2;
  }
  M2BERT_DEVICE constexpr int opposite(int group, int i) const {
    if (groups == 1) return (parts - i) % parts;
    return group == 0 && i % (own_parts() / 2) == 0 ? i : i ^ own_parts() / 2;
  }
  M2BERT_DEVICE constexpr int rows() const { return groups == 1 ? parts : parts / 2; }  // of a plane: inputs, or parts of a group
  M2BERT_DEVICE constexpr bool small() const { return parts <= 16; }  // the fold is one matrix product, with constants in registers
  // The fold is two products (Monarch::fold_levels).
  M2BERT_DEVICE constexpr bool two_levels() const { return parts == 128 && groups == 1; }
  M2BERT_DEVICE constexpr int fold_row() const { return parts / 2 + 8; }
  M2BERT_DEVICE constexpr int exchange_bytes() const { return 2 * rows() * ROW * 2; }
  M2BERT_DEVICE constexpr int fold_bytes() const {
    return small() ? 0 : two_levels() ? inner_words() * 4 : 2 * own_parts() * fold_row() * 2;
  }
  M2BERT_DEVICE constexpr int shared_bytes() const { return exchange_bytes() + fold_bytes() + 64; }
  // In words: offsets of the tables of `constants`.
  M2BERT_DEVICE constexpr int fragments() const { return 0; }            // [3][32] of 4: Re F, Im F, -Im F
  M2BERT_DEVICE constexpr int part_twiddles() const { return 3 * 128; }  // [2][32] of 4: Re, Im
  // small: [4][32] of 4; two levels: [fold, adjoint][8 a0][2][32] of 4 for the products over a1, then [fold, adjoint][32] of 4 for the one
  // over a0; else [2][parts by group][fold_row()] float16.
  M2BERT_DEVICE constexpr int fold() const { return 5 * 128; }
  M2BERT_DEVICE static constexpr int inner_words() { return 2 * 8 * 2 * 128; }
  M2BERT_DEVICE constexpr int fold_words() const { return small() ? 4 * 128 : two_levels() ? inner_words() + 2 * 128 : parts * fold_row(); }
  // The factors exp(-2 pi i r o / size) of columns o in the order of the fold: [16 tiles][parts by group / 16][2][32] of 4; 8 parts: [16
  // tiles][32] of 4; two levels: [16 tiles][16 r0][32] of 4.
  M2BERT_DEVICE constexpr int twists_by_tile() const { return fold() + fold_words(); }
  // The same in the order of a part's result, o = 16 row + column: [parts][2][32] of 4.
  M2BERT_DEVICE constexpr int twists_by_part() const { return twists_by_tile() + parts * 256; }
  M2BERT_DEVICE constexpr int words() const { return twists_by_part() + parts * 256; }
};

// How many segments a sequence has in the kernel for up to `length` positions. With one, two sequences share a transform.
M2BERT_DEVICE constexpr int segments_of(int length) { return length <= 4096 ? 1 : 2; }
// Of the mixer's core, for sequences of up to `length` positions: small blocks, some of which compute while others wait for memory.
M2BERT_DEVICE constexpr MonarchSizes core_sizes(int length) {
  const int parts = length / segments_of(length) / 128;
  switch (length) {
    case 1024:
    case 2048:
    case 8192: return {parts, 1, 4};
    case 4096:
    case 16384: return {parts, 1, 8};
    default: return {parts, 1, 16};
  }
}
// Of the filters' gradient: a block has registers for the sums of 64 parts, two or four for each warp.
M2BERT_DEVICE constexpr MonarchSizes filter_gradient_sizes(int length) {
  return {length / 128, length <= 8192 ? 1 : length / 8192, length == 1024 ? 2 : length == 2048 ? 8 : 16};
}

// Blocks of mixer_monarch_spectra.cu: 32 lags of 32 channels, and frequencies of up to 16 parts.
struct LagsTile {
  static constexpr int PITCH = 33, SIZE = 32 * PITCH, SHARED_BYTES = 2 * SIZE * 4;
};
struct SpectraTile {
  static constexpr int PITCH = 290, SHARED_BYTES = 16 * PITCH * 4;  // words from one part to the next
  M2BERT_DEVICE static constexpr int parts(int of_transform) { return of_transform < 16 ? of_transform : 16; }
};
struct SpectraScales {
  static constexpr int THREADS = 512, SHARED_BYTES = THREADS / 32 * 4;
};

inline std::vector<uint32_t> monarch_constants(const MonarchSizes& s) {
  const int parts = s.parts;
  std::vector<uint32_t> words(s.words());
  struct Root {
    double re, im;
  };
  auto root = [](long k, long n) {
    const double angle = -2 * std::numbers::pi * double(k % n) / double(n);
    return Root{std::cos(angle), std::sin(angle)};
  };
  auto part = [&](int i) { return s.part(i / s.own_parts(), i % s.own_parts()); };
  auto pack = [](double low, double high) { return uint32_t(half_bits(float(low))) | uint32_t(half_bits(float(high))) << 16; };
  // A lane's part of a left matrix: f(row, column).
  auto left = [&](int at, auto f) {
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + 8 * (i % 2), column = 2 * (lane % 4) + 8 * (i / 2);
        words[at + lane * 4 + i] = pack(f(row, column), f(row, column + 1));
      }
    }
  };
  // A lane's part of a product's 16 x 16 result: word i is row g + 8 (i % 2), columns 8 (i / 2) + 2 q, which `left` has in the same place.
  const auto f16 = [&](int r, int c) { return root(r * c, 16); };
  left(s.fragments(), [&](int r, int c) { return f16(r, c).re / 4; });
  left(s.fragments() + 128, [&](int r, int c) { return f16(r, c).im / 4; });
  left(s.fragments() + 256, [&](int r, int c) { return -f16(r, c).im / 4; });
  left(s.part_twiddles(), [&](int r, int c) { return root(r * c, 256).re; });
  left(s.part_twiddles() + 128, [&](int r, int c) { return root(r * c, 256).im; });
  if (parts == 8) {
    // Real and imaginary parts of 4 inputs beside one another, of 8 outputs below one another; zeros fill up the 16 x 16 matrices.
    const double scale = 1 / std::sqrt(8.0);
    auto real = [&](int a, int r) { return root(a * r, 8).re * scale; };
    auto imaginary = [&](int a, int r) { return root(a * r, 8).im * scale; };
    left(s.fold(), [&](int r, int c) {
      if (c >= 8) return 0.0;
      if (r < 8) return c < 4 ? real(c, r) : -imaginary(c - 4, r);
      return c < 4 ? imaginary(c, r - 8) : real(c - 4, r - 8);
    });
    left(s.fold() + 128, [&](int a, int r) {
      if (a >= 8) return 0.0;
      if (a < 4) return r < 8 ? real(a, r) : imaginary(a, r - 8);
      return r < 8 ? -imaginary(a - 4, r) : real(a - 4, r - 8);
    });
  } else if (s.small()) {
    left(s.fold(), [&](int r, int c) { return c < 8 ? f16(r, c).re / 4 : -f16(r, c - 8).im / 4; });
    left(s.fold() + 128, [&](int r, int c) { return c < 8 ? f16(r, c).im / 4 : f16(r, c - 8).re / 4; });
    left(s.fold() + 256, [&](int a, int r) { return a < 8 ? f16(a, r).re / 4 : -f16(a - 8, r).im / 4; });
    left(s.fold() + 384, [&](int a, int r) { return a < 8 ? f16(a, r).im / 4 : f16(a - 8, r).re / 4; });
  } else if (s.two_levels()) {
    // Real and imaginary parts of 8 inputs beside one another.
    auto inner = [&](int a0, bool imaginary, int r0, int column) {
      const Root w = root(long(r0) * (8 * (column % 8) + a0), 128);
      return (imaginary == (column < 8) ? w.im : w.re) * (!imaginary && column >= 8 ? -1 : 1) / 4;
    };
    auto outer = [&](int row, int column) {
      const Root w = root(long(row % 8) * (column % 8), 8);
      return ((row < 8) == (column < 8) ? w.re : w.im) * (row < 8 && column >= 8 ? -1 : 1) / std::sqrt(8.0);
    };
    for (int a0 = 0; a0 < 8; ++a0) {
      for (const bool imaginary : {false, true}) {
        const int at = s.fold() + (2 * a0 + imaginary) * 128;
        left(at, [&](int r, int c) { return inner(a0, imaginary, r, c); });
        left(at + s.inner_words() / 2, [&](int r, int c) { return inner(a0, imaginary, c, r); });
      }
    }
    left(s.fold() + s.inner_words(), [&](int r, int c) { return outer(r, c); });
    left(s.fold() + s.inner_words() + 128, [&](int r, int c) { return outer(c, r); });
  } else {
    const double scale = 1 / std::sqrt(double(parts));
    for (int r = 0; r < parts; ++r) {
      for (int a = 0; a < parts / 2; a += 2) {
        const Root x = root(long(part(r)) * a, parts), y = root(long(part(r)) * (a + 1), parts);
        const int at = s.fold() + (r * s.fold_row() + a) / 2;
        words[at] = pack(x.re * scale, y.re * scale);
        words[at + s.fold_words() / 2] = pack(x.im * scale, y.im * scale);
      }
    }
  }
  // Rows first + step * (lane / 4), of both halves of a tile.
  auto twist = [&](int at, int first, int step, int tile) {
    for (int lane = 0; lane < 32; ++lane) {
      for (int t = 0; t < 2; ++t) {
        const int r = first + step * (lane / 4), column = 16 * tile + 8 * t + 2 * (lane % 4);
        const Root x = root(long(r) * column, s.size()), y = root(long(r) * (column + 1), s.size());
        words[at + lane * 4 + t] = pack(x.re, y.re);
        words[at + lane * 4 + t + 2] = pack(x.im, y.im);
      }
    }
  };
  for (int tile = 0; tile < 16; ++tile) {
    if (parts == 8) twist(s.twists_by_tile() + tile * 128, 0, 1, tile);
    if (s.two_levels()) {
      for (int r0 = 0; r0 < 16; ++r0) twist(s.twists_by_tile() + (tile * 16 + r0) * 128, r0, 16, tile);
      continue;
    }
    for (int m = 0; m < parts / 16; ++m) {
      const int at = s.twists_by_tile() + (tile * (parts / 16) + m) * 256;
      left(at, [&](int r, int c) { return root(long(part(16 * m + r)) * (16 * tile + c), s.size()).re; });
      left(at + 128, [&](int r, int c) { return root(long(part(16 * m + r)) * (16 * tile + c), s.size()).im; });
    }
  }
  for (int part = 0; part < parts; ++part) {
    const int at = s.twists_by_part() + part * 256;
    left(at, [&](int r, int c) { return root(long(part) * (16 * r + c), s.size()).re; });
    left(at + 128, [&](int r, int c) { return root(long(part) * (16 * r + c), s.size()).im; });
  }
  return words;
}

}  // namespace m2bert::ops::cuda
