#pragma once
// A linear layer at inference, tile by tile, alone or with residual and norm behind it. Host memory only, no MLX.
#include <cstdint>
#include <vector>

#include "m2bert/ops/backend/cpu/simd/packed_weight.h"
#include "m2bert/ops/backend/cpu/simd/tile_simd.h"

namespace m2bert::ops::cpu {

struct TiledLinearSource {
  Number number;
  HostWeight weight;                      // dense
  const float* bias;                      // [q] or null
  const float *norm_weight, *norm_shift;  // [q] each, or null: no norm
  float eps;
};

// Whether the sizes suit: both widths a multiple of 16.
bool tiled_linear_takes(const HostWeight& weight);

class TiledLinear {
 public:
  explicit TiledLinear(const TiledLinearSource& source);

  // y [rows, q] = x [rows, p] weight^T + bias, or the norm of that + residual [rows, q]; numbers as in FeedForward::run. y may be residual.
  template <class T>
  void run(const T* x, const T* residual, int64_t rows, T* y, int threads) const;

  int in() const { return in_; }
  int out() const { return out_; }
  bool has_norm() const { return !norm_weight_.empty(); }
  Number number() const { return number_; }

 private:
  template <class T>
  void tile(const T* x, const T* residual, int rows, T* y) const;

  Number number_;
  int in_, out_, piece_;  // piece_: outputs of one product
  std::vector<PackedWeight> pieces_;
  std::vector<float> scale_, bias_, norm_weight_, norm_shift_;
  float eps_;
};

}  // namespace m2bert::ops::cpu
