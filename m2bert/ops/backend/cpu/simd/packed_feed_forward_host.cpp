#include "m2bert/ops/backend/cpu/simd/packed_feed_forward_host.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "m2bert/ops/backend/cpu/simd/activation_simd.h"
#include "m2bert/ops/backend/cpu/simd/layer_norm_simd.h"
#include "m2bert/ops/backend/cpu/simd/parallel.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"
#include "m2bert/ops/backend/cpu/simd/tile.h"

namespace m2bert::ops::cpu {

namespace {

constexpr int kLane = 16;            // widths are multiples of it
constexpr int kMaxPanelWidth = 384;  // columns of activations computed at a time

// Where [0, intermediate) is cut so that no panel crosses the edge of a block: of `up`, for values and for gates, or of `down`.
std::vector<int> block_edges(const WeightView& up, const WeightView& down, bool gated) {
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

}  // namespace

bool packed_feed_forward_supports(const WeightView& up, const WeightView& down, bool gated) {
  const int intermediate = down.blocks * down.p, hidden = down.blocks * down.q;
  if (up.blocks * up.p != hidden || up.blocks * up.q != intermediate * (gated ? 2 : 1)) return false;
  if (up.p % kLane != 0 || down.q % kLane != 0) return false;
  return std::ranges::all_of(block_edges(up, down, gated), [](int c) { return c % kLane == 0; });
}

PackedFeedForwardHost::PackedFeedForwardHost(const PackedFeedForwardSource& s)
    : dtype_(s.dtype),
      hidden_(s.down.blocks * s.down.q),
      up_blocks_(s.up.blocks),
      up_width_(s.up.p),
      down_width_(s.down.p),
      down_out_(s.down.q),
      panels_(size_t(s.down.blocks)),
      up_scale_(copy_floats(s.up.scale, size_t(s.up.blocks) * size_t(s.up.q))),
      up_bias_(copy_floats(s.up_bias, size_t(s.up.blocks) * size_t(s.up.q))),
      down_scale_(copy_floats(s.down.scale, size_t(hidden_))),
      down_bias_(s.down_bias ? copy_floats(s.down_bias, size_t(hidden_)) : std::vector<float>(size_t(hidden_), 0.0f)),
      norm_weight_(copy_floats(s.norm_weight, size_t(hidden_))),
      norm_bias_(copy_floats(s.norm_bias, size_t(hidden_))),
      intermediate_(s.down.blocks * s.down.p),
      eps_(s.eps),
      activation_(s.activation) {
  const auto* up = static_cast<const char*>(s.up.values);
  const auto* down = static_cast<const char*>(s.down.values);
  const float* bias = s.dtype == HostDtype::int8 ? nullptr : s.up_bias;  // int8 adds it after the scales
  auto rows_of_up = [&](int first, int count) {
    return PackedWeight(up + size_t(first) * size_t(s.up.p) * size_of(s.dtype), s.dtype, count, s.up.p, bias ? bias + first : nullptr);
  };
  const auto at = block_edges(s.up, s.down, s.gated);
  for (size_t i = 0; i + 1 < at.size(); ++i) {
    for (int first = at[i]; first < at[i + 1]; first += kMaxPanelWidth) {
      const int count = std::min(kMaxPanelWidth, at[i + 1] - first), gate = intermediate_ + first;
      Panel panel{first, count, first / s.up.q, s.gated ? gate / s.up.q : 0, rows_of_up(first, count), {}};
      if (s.gated) panel.gate.push_back(rows_of_up(gate, count));
      panels_[size_t(first / down_width_)].push_back(std::move(panel));
    }
  }
  for (int j = 0; j < s.down.blocks; ++j)
    down_.emplace_back(down + size_t(j) * size_t(s.down.q) * size_t(s.down.p) * size_of(s.dtype), s.dtype, s.down.q, s.down.p);
}

size_t PackedFeedForwardHost::bytes() const {
  size_t sum = 0;
  for (const auto& block : panels_) {
    for (const auto& panel : block) sum += panel.value.bytes() + (panel.gate.empty() ? 0 : panel.gate[0].bytes());
  }
  for (const auto& w : down_) sum += w.bytes();
  return sum;
}

Dequantize PackedFeedForwardHost::columns(const float* row_scale, int first) const {
  if (dtype_ != HostDtype::int8) return {};
  return {row_scale, up_scale_.data() + first, at_or_null(up_bias_, first)};
}

template <class T>
PackedFeedForwardHost::UpInputs PackedFeedForwardHost::up_inputs(const T* x, int rows) const {
  static thread_local Scratch inputs, scales;
  const size_t block_bytes = size_t(round_up(rows)) * size_t(up_width_) * size_of(dtype_);
  char* blocks = inputs.of<char>(block_bytes * size_t(up_blocks_));
  float* row_scale = scales.of<float>(size_t(kTileRows) * size_t(up_blocks_));
  if (dtype_ == HostDtype::int8) {
    const ProfileScope timed(ProfileStage::quantize, 0, int64_t(rows) * hidden_ * int64_t(sizeof(T) + 1));
    for (int k = 0; k < up_blocks_; ++k)
      quantize_tile(x + k * up_width_, hidden_, rows, up_width_, hadamard_block(up_width_),
                    reinterpret_cast<int8_t*>(blocks + size_t(k) * block_bytes), row_scale + k * kTileRows);
  } else if (up_blocks_ == 1 && (rows % kRowAlignment == 0 || down_.front().exact_rows())) {
    return {reinterpret_cast<const char*>(x), block_bytes, row_scale};
  } else {
    const size_t bytes = size_t(up_width_) * sizeof(T);
    for (int k = 0; k < up_blocks_; ++k) {
      for (int r = 0; r < rows; ++r)
        std::memcpy(blocks + size_t(k) * block_bytes + size_t(r) * bytes, x + int64_t(r) * hidden_ + k * up_width_, bytes);
    }
  }
  return {blocks, block_bytes, row_scale};
}

template <class T>
void PackedFeedForwardHost::activate_block(size_t j, const UpInputs& in, int rows, T* activation) const {
  static thread_local Scratch values, gates;
  const size_t tile_rows = size_t(round_up(rows));
  T* value = values.of<T>(tile_rows * kMaxPanelWidth);
  T* gate = gates.of<T>(tile_rows * kMaxPanelWidth);
  for (const Panel& panel : panels_[j]) {
    const bool gated = !panel.gate.empty();
    panel.value.matmul(rows, in.block(panel.block), value, dtype_of<T>, ProfileStage::mlp_up);
    if (gated) panel.gate[0].matmul(rows, in.block(panel.gate_block), gate, dtype_of<T>, ProfileStage::mlp_up);
    const ProfileScope timed(ProfileStage::activation, 0, int64_t(rows) * panel.count * int64_t(sizeof(T)) * (gated ? 3 : 2));
    activate_tile(activation_, value, columns(in.row_scale + panel.block * kTileRows, panel.first), gated ? gate : nullptr,
                  columns(in.row_scale + panel.gate_block * kTileRows, intermediate_ + panel.first), rows, panel.count,
                  activation + panel.first - int(j) * down_width_, down_width_);
  }
}

template <class T>
void PackedFeedForwardHost::tile(const T* x, int rows, T* y) const {
  static thread_local Scratch activations, quantized_activations, scales, outputs, row;
  const bool quantized = dtype_ == HostDtype::int8;
  const size_t tile_rows = size_t(round_up(rows));
  const UpInputs in = up_inputs(x, rows);
  T* activation = activations.of<T>(tile_rows * size_t(down_width_));
  float* output = outputs.of<float>(tile_rows * size_t(hidden_));
  float* row_scale = scales.of<float>(size_t(kTileRows) * down_.size());
  for (size_t j = 0; j < down_.size(); ++j) {
    activate_block(j, in, rows, activation);
    const void* a = activation;
    if (quantized) {
      const ProfileScope timed(ProfileStage::quantize, 0, int64_t(rows) * down_width_ * int64_t(sizeof(T) + 1));
      int8_t* q = quantized_activations.of<int8_t>(tile_rows * size_t(down_width_));
      quantize_tile(activation, down_width_, rows, down_width_, hadamard_block(down_width_), q, row_scale + j * kTileRows);
      a = q;
    }
    down_[j].matmul(rows, a, output + j * tile_rows * size_t(down_out_), HostDtype::float32, ProfileStage::mlp_down);
  }
  const ProfileScope timed(ProfileStage::norm, 0, int64_t(rows) * hidden_ * int64_t(sizeof(float) + 2 * sizeof(T)));
  const BlockedMatrix<const float> result{output, down_out_, down_out_, int64_t(tile_rows) * down_out_};
  const BlockedDequantize columns_of_down{row_scale, kTileRows, quantized ? down_scale_.data() : nullptr, down_bias_.data()};
  layer_norm_tile(result, columns_of_down, x, {norm_weight_.data(), norm_bias_.data(), eps_}, rows, hidden_, y,
                  row.of<float>(size_t(hidden_)));
}

template <class T>
void PackedFeedForwardHost::run(const T* x, int64_t rows, T* y, int threads) const {
  const int step = rows_per_task(rows, threads, down_.front().row_multiple());
  parallel_for((rows + step - 1) / step, threads, [&](int64_t i) {
    const int64_t r = i * step;
    tile(x + r * hidden_, int(std::min<int64_t>(step, rows - r)), y + r * hidden_);
  });
}

template void PackedFeedForwardHost::run(const float*, int64_t, float*, int) const;
template void PackedFeedForwardHost::run(const uint16_t*, int64_t, uint16_t*, int) const;

}  // namespace m2bert::ops::cpu
