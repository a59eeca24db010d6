#pragma once
// The channel mixer of an encoder layer at inference, tile by tile: products, activation, residual and norm of a tile of rows meet in the
// cache. Host memory only, no MLX.
#include <cstdint>
#include <vector>

#include "m2bert/ops/backend/cpu/simd/packed_weight.h"
#include "m2bert/ops/backend/cpu/simd/tile_simd.h"

namespace m2bert::ops::cpu {

struct FeedForwardSource {
  Number number;
  HostWeight up, down;
  const float *up_bias, *down_bias;  // or null
  const float *norm_weight, *norm_shift;
  float eps;
  Activation activation;
  bool gated;
};

// Whether the sizes suit: all widths a multiple of 16, and pieces of `up` that fit its blocks and those of `down`.
bool feed_forward_takes(const HostWeight& up, const HostWeight& down, bool gated);

class FeedForward {
 public:
  explicit FeedForward(const FeedForwardSource& source);

  // y [rows, H] = layer_norm(down(act(up(x))) + x); x, y float or bfloat16 (uint16_t). Weights float32 want float, bfloat16 want bfloat16,
  // int8 take both. y may be x.
  template <class T>
  void run(const T* x, int64_t rows, T* y, int threads) const;

  int width() const { return hidden_; }
  Number number() const { return number_; }
  size_t bytes() const;

 private:
  // Columns [first, first + count) of the activations: rows of `up` that lie in one of its blocks (and their gates in one, too).
  struct Piece {
    int first, count, block, gate_block;
    PackedWeight value;
    std::vector<PackedWeight> gate;  // none or one
  };
  template <class T>
  void tile(const T* x, int rows, T* y) const;
  Dequantize columns(const float* row_scale, int first) const;

  Number number_;
  int hidden_, up_blocks_, up_width_, down_width_, down_out_;  // widths of a block's input and output
  std::vector<std::vector<Piece>> pieces_;                     // by block of `down`
  std::vector<PackedWeight> down_;
  std::vector<float> up_scale_, up_bias_, down_scale_, down_bias_, norm_weight_, norm_shift_;
  int intermediate_;
  float eps_;
  Activation activation_;
};

}  // namespace m2bert::ops::cpu
