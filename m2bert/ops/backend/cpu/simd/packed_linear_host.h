#pragma once
// A linear layer at inference, with packed weights and tile by tile, alone or followed by residual and layer norm. Host memory only.
#include <cstdint>
#include <vector>

#include "m2bert/ops/backend/cpu/simd/packed_weight_host.h"

namespace m2bert::ops::cpu {

// What a layer is packed from; copied, not kept.
struct PackedLinearSource {
  HostDtype dtype;                       // of the weight
  WeightView weight;                     // dense
  const float* bias;                     // [q] or null
  const float *norm_weight, *norm_bias;  // [q] each, or null: no norm
  float eps;
};

// Whether the layer can be packed: both widths are multiples of 16.
bool packed_linear_supports(const WeightView& weight);

// Immutable and thread-safe.
class PackedLinearHost {
 public:
  explicit PackedLinearHost(const PackedLinearSource& source);

  // y [rows, q] = x [rows, p] weight^T + bias; with a norm, y = layer_norm(x weight^T + bias + residual [rows, q]). T: float for float32
  // weights, uint16_t (bfloat16) for bfloat16 weights, either for int8 weights. residual: null without a norm. y may be residual.
  template <class T>
  void run(const T* x, const T* residual, int64_t rows, T* y, int threads) const;

  int in() const { return in_; }
  int out() const { return out_; }
  bool has_norm() const { return !norm_weight_.empty(); }
  HostDtype dtype() const { return dtype_; }

 private:
  template <class T>
  void tile(const T* x, const T* residual, int rows, T* y) const;

  HostDtype dtype_;
  int in_, out_, panel_width_;  // panel_width_: outputs of one matmul
  std::vector<PackedWeight> panels_;
  std::vector<float> scale_, bias_, norm_weight_, norm_bias_;
  float eps_;
};

}  // namespace m2bert::ops::cpu
