#include "m2bert/ops/backend/cpu/simd/packed_linear_host.h"

#include <algorithm>
#include <cstring>

#include "m2bert/ops/backend/cpu/simd/parallel.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"

namespace m2bert::ops::cpu {

namespace {

constexpr int kLane = 16;
constexpr int kMostOutputs = 384;

// The widest pieces, all alike, that are a multiple of 16.
int piece_of(int out) {
  for (int width = std::min(kMostOutputs, out); width > kLane; width -= kLane) {
    if (out % width == 0) return width;
  }
  return kLane;
}

std::vector<float> floats(const float* from, int count) { return from ? std::vector<float>(from, from + count) : std::vector<float>(); }

}  // namespace

bool tiled_linear_takes(const HostWeight& w) { return w.blocks == 1 && w.p % kLane == 0 && w.q % kLane == 0; }

TiledLinear::TiledLinear(const TiledLinearSource& s)
    : number_(s.number),
      in_(s.weight.p),
      out_(s.weight.q),
      piece_(piece_of(out_)),
      scale_(floats(s.weight.scale, out_)),
      bias_(s.bias ? floats(s.bias, out_) : std::vector<float>(size_t(out_), 0.0f)),
      norm_weight_(floats(s.norm_weight, out_)),
      norm_shift_(floats(s.norm_shift, out_)),
      eps_(s.eps) {
  // Where a norm follows it adds the bias, and int8's comes after its scales.
  const bool biased = s.bias && number_ != Number::int8 && !has_norm();
  const auto* values = static_cast<const char*>(s.weight.values);
  for (int c = 0; c < out_; c += piece_)
    pieces_.emplace_back(values + size_t(c) * size_t(in_) * size_of(number_), number_, piece_, in_, biased ? bias_.data() + c : nullptr);
}

template <class T>
void TiledLinear::tile(const T* x, const T* residual, int rows, T* y) const {
  static thread_local Scratch inputs, scales, outputs, sums;
  constexpr Number number = sizeof(T) == 4 ? Number::float32 : Number::bfloat16;
  const size_t tile_rows = size_t(round_up(rows));
  const void* from = x;
  float* row_scale = scales.of<float>(kTileRows);
  if (number_ == Number::int8) {
    int8_t* q = inputs.of<int8_t>(tile_rows * size_t(in_));
    quantize_tile(x, in_, rows, in_, rotation_of(in_), q, row_scale);
    from = q;
  } else if (rows % kRowStep != 0) {
    T* padded = inputs.of<T>(tile_rows * size_t(in_));
    std::memcpy(padded, x, size_t(rows) * size_t(in_) * sizeof(T));
    from = padded;
  }
  if (has_norm()) {
    float* sum = outputs.of<float>(tile_rows * size_t(out_));
    for (size_t i = 0; i < pieces_.size(); ++i)
      pieces_[i].multiply(rows, from, sum + i * tile_rows * size_t(piece_), Number::float32, StageKind::linear);
    // One row of scales for all pieces.
    const BlockedDequantize columns{row_scale, 0, number_ == Number::int8 ? scale_.data() : nullptr};
    norm_tile({sum, int64_t(tile_rows) * piece_, piece_}, columns, residual, {bias_.data(), norm_weight_.data(), norm_shift_.data(), eps_},
              rows, out_, y, sums.of<float>(size_t(out_)));
    return;
  }
  T* piece = outputs.of<T>(tile_rows * size_t(piece_));
  for (size_t i = 0; i < pieces_.size(); ++i) {
    pieces_[i].multiply(rows, from, piece, number, StageKind::linear);
    const int first = int(i) * piece_;
    if (number_ == Number::int8) dequantize_tile({row_scale, scale_.data() + first, bias_.data() + first}, rows, piece_, piece);
    for (int r = 0; r < rows; ++r) std::memcpy(y + int64_t(r) * out_ + first, piece + int64_t(r) * piece_, size_t(piece_) * sizeof(T));
  }
}

template <class T>
void TiledLinear::run(const T* x, const T* residual, int64_t rows, T* y, int threads) const {
  const int step = tile_step(rows, threads);
  parallel_for((rows + step - 1) / step, threads, [&](int64_t i) {
    const int64_t r = i * step;
    tile(x + r * in_, residual ? residual + r * out_ : nullptr, int(std::min<int64_t>(step, rows - r)), y + r * out_);
  });
}

template void TiledLinear::run(const float*, const float*, int64_t, float*, int) const;
template void TiledLinear::run(const uint16_t*, const uint16_t*, int64_t, uint16_t*, int) const;

}  // namespace m2bert::ops::cpu
