#pragma once
// Weights laid out once for oneDNN, and products of a few rows with them on the thread that asks. Host memory only, no MLX.
#include <cstddef>
#include <cstdint>
#include <memory>

#include "m2bert/ops/backend/cpu/simd/stage.h"

namespace m2bert::ops::cpu {

// Rows that a thread works on at a time: what they need stays in the second-level cache.
inline constexpr int kTileRows = 128;

// oneDNN computes a multiple of this many rows. Tiles have room for them; what it makes of the rows behind the last one is garbage.
inline constexpr int kRowStep = 16;
inline constexpr int round_up(int rows, int step = kRowStep) { return (rows + step - 1) / step * step; }

// Rows a task when `rows` of them are shared out to threads: a tile, or less where there are few.
inline int tile_step(int64_t rows, int threads) {
  const int64_t share = (rows + threads - 1) / threads;
  return share >= kTileRows ? kTileRows : round_up(int(share));
}

enum class Number { float32, bfloat16, int8 };
inline constexpr size_t size_of(Number n) { return n == Number::float32 ? 4 : n == Number::bfloat16 ? 2 : 1; }

// A weight of `blocks` blocks [q, p] below each other: y_k = x_k weight_k^T. One block: dense.
struct HostWeight {
  const void* values;
  const float* scale;  // [blocks * q], of int8 weights; else null
  int blocks, q, p;
};

// Whether oneDNN's products of int8 are exact on this CPU. Without VNNI it adds pairs of products in 16 bits, where large ones overflow.
bool has_int8_gemm();

class PackedWeight {
 public:
  // weight [q, p], row-major. Numbers that oneDNN has no product of on this CPU are an error; see has_bfloat16_gemm(), and for int8
  // has_int8_gemm(). bias: [q] or null; none with int8.
  PackedWeight(const void* weight, Number number, int q, int p, const float* bias = nullptr);
  PackedWeight(PackedWeight&&) noexcept;
  ~PackedWeight();

  // y [rows, q] = x [rows, p] weight^T + bias, both dense, x of the weight's numbers, y of `result`: float32, or what x is made of (for
  // int8 bfloat16). x and y have memory for round_up(rows) rows; rows up to kTileRows. May be called by many threads. stage: what the time
  // is counted as.
  void multiply(int rows, const void* x, void* y, Number result, StageKind stage) const;

  int q() const { return q_; }
  int p() const { return p_; }
  size_t bytes() const;

 private:
  struct Layout;
  std::unique_ptr<Layout> layout_;
  Number number_;
  int q_, p_;
};

}  // namespace m2bert::ops::cpu
