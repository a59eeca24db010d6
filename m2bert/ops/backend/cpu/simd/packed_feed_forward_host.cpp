#include "m2bert/ops/backend/cpu/simd/packed_feed_forward_host.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <type_traits>

#include "m2bert/ops/backend/cpu/simd/parallel.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"

namespace m2bert::ops::cpu {

namespace {

constexpr int kLane = 16;         // widths are multiples of it
constexpr int kPieceWidth = 384;  // columns of activations made at a time

// Where [0, intermediate) is cut so that no piece crosses a block: of `up` for values and gates, of `down`.
std::vector<int> cuts(const HostWeight& up, const HostWeight& down, bool gated) {
  const int intermediate = down.blocks * down.p;
  std::set<int> at{0, intermediate};
  for (int k = 1; k < down.blocks; ++k) at.insert(k * down.p);
  for (int k = 1; k < up.blocks; ++k) {
    at.insert(k * up.q);
    if (gated) at.insert(k * up.q - intermediate);
  }
  std::vector<int> inside;
  for (int c : at) {
    if (c >= 0 && c <= intermediate) inside.push_back(c);
  }
  return inside;
}

template <class T>
struct NumberOf;
template <>
struct NumberOf<float> {
  static constexpr Number value = Number::float32;
};
template <>
struct NumberOf<uint16_t> {
  static constexpr Number value = Number::bfloat16;
};

std::vector<float> floats(const float* from, size_t count) { return from ? std::vector<float>(from, from + count) : std::vector<float>(); }

const float* or_null(const std::vector<float>& v, int first) { return v.empty() ? nullptr : v.data() + first; }

}  // namespace

bool feed_forward_takes(const HostWeight& up, const HostWeight& down, bool gated) {
  const int intermediate = down.blocks * down.p, hidden = down.blocks * down.q;
  if (up.blocks * up.p != hidden || up.blocks * up.q != intermediate * (gated ? 2 : 1)) return false;
  if (up.p % kLane != 0 || down.q % kLane != 0) return false;
  return std::ranges::all_of(cuts(up, down, gated), [](int c) { return c % kLane == 0; });
}

FeedForward::FeedForward(const FeedForwardSource& s)
    : number_(s.number),
      hidden_(s.down.blocks * s.down.q),
      up_blocks_(s.up.blocks),
      up_width_(s.up.p),
      down_width_(s.down.p),
      down_out_(s.down.q),
      pieces_(size_t(s.down.blocks)),
      up_scale_(floats(s.up.scale, size_t(s.up.blocks) * size_t(s.up.q))),
      up_bias_(floats(s.up_bias, size_t(s.up.blocks) * size_t(s.up.q))),
      down_scale_(floats(s.down.scale, size_t(hidden_))),
      down_bias_(s.down_bias ? floats(s.down_bias, size_t(hidden_)) : std::vector<float>(size_t(hidden_), 0.0f)),
      norm_weight_(floats(s.norm_weight, size_t(hidden_))),
      norm_shift_(floats(s.norm_shift, size_t(hidden_))),
      intermediate_(s.down.blocks * s.down.p),
      eps_(s.eps),
      activation_(s.activation) {
  const auto* up = static_cast<const char*>(s.up.values);
  const auto* down = static_cast<const char*>(s.down.values);
  const float* bias = s.number == Number::int8 ? nullptr : s.up_bias;  // int8's comes after its scales
  auto rows_of_up = [&](int first, int count) {
    return PackedWeight(up + size_t(first) * size_t(s.up.p) * size_of(s.number), s.number, count, s.up.p, bias ? bias + first : nullptr);
  };
  const auto at = cuts(s.up, s.down, s.gated);
  for (size_t i = 0; i + 1 < at.size(); ++i) {
    for (int first = at[i]; first < at[i + 1]; first += kPieceWidth) {
      const int count = std::min(kPieceWidth, at[i + 1] - first), gate = intermediate_ + first;
      Piece piece{first, count, first / s.up.q, s.gated ? gate / s.up.q : 0, rows_of_up(first, count), {}};
      if (s.gated) piece.gate.push_back(rows_of_up(gate, count));
      pieces_[size_t(first / down_width_)].push_back(std::move(piece));
    }
  }
  for (int j = 0; j < s.down.blocks; ++j)
    down_.emplace_back(down + size_t(j) * size_t(s.down.q) * size_t(s.down.p) * size_of(s.number), s.number, s.down.q, s.down.p);
}

size_t FeedForward::bytes() const {
  size_t sum = 0;
  for (const auto& block : pieces_) {
    for (const auto& piece : block) sum += piece.value.bytes() + (piece.gate.empty() ? 0 : piece.gate[0].bytes());
  }
  for (const auto& w : down_) sum += w.bytes();
  return sum;
}

Dequantize FeedForward::columns(const float* row_scale, int first) const {
  if (number_ != Number::int8) return {};
  return {row_scale, up_scale_.data() + first, or_null(up_bias_, first)};
}

template <class T>
void FeedForward::tile(const T* x, int rows, T* y) const {
  static thread_local Scratch inputs, input_scales, values, gates, activations, narrow, narrow_scales, outputs, row;
  const bool quantized = number_ == Number::int8;
  const size_t tile_rows = size_t(round_up(rows)), number_size = size_of(number_);

  // What each block of `up` reads, dense.
  const size_t block_bytes = tile_rows * size_t(up_width_) * number_size;
  char* blocks = inputs.of<char>(block_bytes * size_t(up_blocks_));
  float* row_scale = input_scales.of<float>(size_t(kTileRows) * size_t(up_blocks_));
  const char* from = blocks;
  if (quantized) {
    const Stage timed(StageKind::quantize, 0, int64_t(rows) * hidden_ * int64_t(sizeof(T) + 1));
    for (int k = 0; k < up_blocks_; ++k)
      quantize_tile(x + k * up_width_, hidden_, rows, up_width_, rotation_of(up_width_),
                    reinterpret_cast<int8_t*>(blocks + size_t(k) * block_bytes), row_scale + k * kTileRows);
  } else if (up_blocks_ == 1 && rows % kRowStep == 0) {
    from = reinterpret_cast<const char*>(x);
  } else {
    const size_t bytes = size_t(up_width_) * sizeof(T);
    for (int k = 0; k < up_blocks_; ++k) {
      for (int r = 0; r < rows; ++r)
        std::memcpy(blocks + size_t(k) * block_bytes + size_t(r) * bytes, x + int64_t(r) * hidden_ + k * up_width_, bytes);
    }
  }

  T* value = values.of<T>(tile_rows * kPieceWidth);
  T* gate = gates.of<T>(tile_rows * kPieceWidth);
  T* activation = activations.of<T>(tile_rows * size_t(down_width_));
  float* output = outputs.of<float>(tile_rows * size_t(hidden_));
  float* activation_scale = narrow_scales.of<float>(size_t(kTileRows) * down_.size());
  for (size_t j = 0; j < down_.size(); ++j) {
    for (const Piece& piece : pieces_[j]) {
      const bool gated = !piece.gate.empty();
      piece.value.multiply(rows, from + size_t(piece.block) * block_bytes, value, NumberOf<T>::value, StageKind::mlp_up);
      if (gated) piece.gate[0].multiply(rows, from + size_t(piece.gate_block) * block_bytes, gate, NumberOf<T>::value, StageKind::mlp_up);
      const Stage timed(StageKind::activation, 0, int64_t(rows) * piece.count * int64_t(sizeof(T)) * (gated ? 3 : 2));
      activate_tile(activation_, value, columns(row_scale + piece.block * kTileRows, piece.first), gated ? gate : nullptr,
                    columns(row_scale + piece.gate_block * kTileRows, intermediate_ + piece.first), rows, piece.count,
                    activation + piece.first - int(j) * down_width_, down_width_);
    }
    const void* a = activation;
    if (quantized) {
      const Stage timed(StageKind::quantize, 0, int64_t(rows) * down_width_ * int64_t(sizeof(T) + 1));
      int8_t* q = narrow.of<int8_t>(tile_rows * size_t(down_width_));
      quantize_tile(activation, down_width_, rows, down_width_, rotation_of(down_width_), q, activation_scale + j * kTileRows);
      a = q;
    }
    down_[j].multiply(rows, a, output + j * tile_rows * size_t(down_out_), Number::float32, StageKind::mlp_down);
  }

  const Stage timed(StageKind::norm, 0, int64_t(rows) * hidden_ * int64_t(sizeof(float) + 2 * sizeof(T)));
  const BlockedRows result{output, int64_t(tile_rows) * down_out_, down_out_};
  const BlockedDequantize scales{activation_scale, kTileRows, quantized ? down_scale_.data() : nullptr};
  norm_tile(result, scales, x, {down_bias_.data(), norm_weight_.data(), norm_shift_.data(), eps_}, rows, hidden_, y,
            row.of<float>(size_t(hidden_)));
}

template <class T>
void FeedForward::run(const T* x, int64_t rows, T* y, int threads) const {
  const int step = tile_step(rows, threads);
  parallel_for((rows + step - 1) / step, threads, [&](int64_t i) {
    const int64_t r = i * step;
    tile(x + r * hidden_, int(std::min<int64_t>(step, rows - r)), y + r * hidden_);
  });
}

template void FeedForward::run(const float*, int64_t, float*, int) const;
template void FeedForward::run(const uint16_t*, int64_t, uint16_t*, int) const;

}  // namespace m2bert::ops::cpu
