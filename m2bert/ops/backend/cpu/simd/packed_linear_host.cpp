#include "m2bert/ops/backend/cpu/simd/packed_linear_host.h"

#include <algorithm>
#include <cstring>

#include "m2bert/ops/backend/cpu/simd/layer_norm_simd.h"
#include "m2bert/ops/backend/cpu/simd/parallel.h"
#include "m2bert/ops/backend/cpu/simd/quantize_simd.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"
#include "m2bert/ops/backend/cpu/simd/tile.h"

namespace m2bert::ops::cpu {

namespace {

constexpr int kLane = 16;  // widths are multiples of it
constexpr int kMaxPanelWidth = 384;

// The largest panel width that divides the outputs and is a multiple of 16.
int panel_width(int out) {
  for (int width = std::min(kMaxPanelWidth, out); width > kLane; width -= kLane) {
    if (out % width == 0) return width;
  }
  return kLane;
}

}  // namespace

bool packed_linear_supports(const WeightView& w) { return w.blocks == 1 && w.p % kLane == 0 && w.q % kLane == 0; }

PackedLinearHost::PackedLinearHost(const PackedLinearSource& s)
    : dtype_(s.dtype),
      in_(s.weight.p),
      out_(s.weight.q),
      panel_width_(panel_width(out_)),
      scale_(copy_floats(s.weight.scale, size_t(out_))),
      bias_(s.bias ? copy_floats(s.bias, size_t(out_)) : std::vector<float>(size_t(out_), 0.0f)),
      norm_weight_(copy_floats(s.norm_weight, size_t(out_))),
      norm_bias_(copy_floats(s.norm_bias, size_t(out_))),
      eps_(s.eps) {
  // If a norm follows, it adds the bias; an int8 layer adds it after the scales.
  const bool biased = s.bias && dtype_ != HostDtype::int8 && !has_norm();
  const auto* values = static_cast<const char*>(s.weight.values);
  for (int c = 0; c < out_; c += panel_width_)
    panels_.emplace_back(values + size_t(c) * size_t(in_) * size_of(dtype_), dtype_, panel_width_, in_,
                         biased ? bias_.data() + c : nullptr);
}

template <class T>
void PackedLinearHost::tile(const T* x, const T* residual, int rows, T* y) const {
  static thread_local Scratch inputs, scales, outputs, sums;
  const size_t tile_rows = size_t(round_up(rows));
  const void* from = x;
  float* row_scale = scales.of<float>(kTileRows);
  if (dtype_ == HostDtype::int8) {
    int8_t* q = inputs.of<int8_t>(tile_rows * size_t(in_));
    quantize_tile(x, in_, rows, in_, hadamard_block(in_), q, row_scale);
    from = q;
  } else if (rows % kRowAlignment != 0 && !panels_.front().exact_rows()) {
    T* padded = inputs.of<T>(tile_rows * size_t(in_));
    std::memcpy(padded, x, size_t(rows) * size_t(in_) * sizeof(T));
    from = padded;
  }
  if (has_norm()) {
    float* sum = outputs.of<float>(tile_rows * size_t(out_));
    for (size_t i = 0; i < panels_.size(); ++i)
      panels_[i].matmul(rows, from, sum + i * tile_rows * size_t(panel_width_), HostDtype::float32, ProfileStage::linear);
    // All panels share one set of row scales.
    const BlockedDequantize columns{row_scale, 0, dtype_ == HostDtype::int8 ? scale_.data() : nullptr, bias_.data()};
    layer_norm_tile({sum, panel_width_, panel_width_, int64_t(tile_rows) * panel_width_}, columns, residual,
                    {norm_weight_.data(), norm_bias_.data(), eps_}, rows, out_, y, sums.of<float>(size_t(out_)));
    return;
  }
  if (panels_.front().exact_rows()) {
    for (size_t i = 0; i < panels_.size(); ++i)
      panels_[i].matmul(rows, from, y + i * size_t(panel_width_), dtype_of<T>, ProfileStage::linear, out_);
    return;
  }
  T* panel = outputs.of<T>(tile_rows * size_t(panel_width_));
  for (size_t i = 0; i < panels_.size(); ++i) {
    panels_[i].matmul(rows, from, panel, dtype_of<T>, ProfileStage::linear);
    const int first = int(i) * panel_width_;
    if (dtype_ == HostDtype::int8) dequantize_tile({row_scale, scale_.data() + first, bias_.data() + first}, rows, panel_width_, panel);
    for (int r = 0; r < rows; ++r)
      std::memcpy(y + int64_t(r) * out_ + first, panel + int64_t(r) * panel_width_, size_t(panel_width_) * sizeof(T));
  }
}

template <class T>
void PackedLinearHost::run(const T* x, const T* residual, int64_t rows, T* y, int threads) const {
  const int step = rows_per_task(rows, threads, panels_.front().row_multiple());
  parallel_for((rows + step - 1) / step, threads, [&](int64_t i) {
    const int64_t r = i * step;
    tile(x + r * in_, residual ? residual + r * out_ : nullptr, int(std::min<int64_t>(step, rows - r)), y + r * out_);
  });
}

template void PackedLinearHost::run(const float*, const float*, int64_t, float*, int) const;
template void PackedLinearHost::run(const uint16_t*, const uint16_t*, int64_t, uint16_t*, int) const;

}  // namespace m2bert::ops::cpu
