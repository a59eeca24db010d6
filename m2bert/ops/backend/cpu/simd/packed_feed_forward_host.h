#pragma once
// The feed-forward block (channel mixer) of an encoder layer at inference, with packed weights and tile by tile, so that what is between
// the matmuls, activation, residual and norm of a tile of rows stays in the cache. Host memory only.
#include <cstdint>
#include <vector>

#include "m2bert/ops/activation_kind.h"
#include "m2bert/ops/backend/cpu/simd/packed_weight_host.h"
#include "m2bert/ops/backend/cpu/simd/quantize_simd.h"

namespace m2bert::ops::cpu {

// What a block is packed from; copied, not kept. H: width of x, I: width of the activations.
struct PackedFeedForwardSource {
  HostDtype dtype;                       // of both weights
  WeightView up, down;                   // H -> I, or 2 I with a gate; I -> H
  const float *up_bias, *down_bias;      // [I or 2 I], [H]; or null
  const float *norm_weight, *norm_bias;  // [H]
  float eps;
  Activation activation;
  bool gated;
};

// Whether the block can be packed: all widths are multiples of 16, and so are the panels of activations between the edges of the blocks of
// `up` and `down`.
bool packed_feed_forward_supports(const WeightView& up, const WeightView& down, bool gated);

// Immutable and thread-safe.
class PackedFeedForwardHost {
 public:
  explicit PackedFeedForwardHost(const PackedFeedForwardSource& source);

  // y [rows, H] = layer_norm(down(act(up(x))) + x). T: float for float32 weights, uint16_t (bfloat16) for bfloat16 weights, either for int8
  // weights. y may be x.
  template <class T>
  void run(const T* x, int64_t rows, T* y, int threads) const;

  int width() const { return hidden_; }
  HostDtype dtype() const { return dtype_; }
  size_t bytes() const;

 private:
  // Columns [first, first + count) of the activations. They come from one block of `up`, and their gates from one block too.
  struct Panel {
    int first, count, block, gate_block;
    PackedWeight value;
    std::vector<PackedWeight> gate;  // none or one
  };
  // What the blocks of `up` read of a tile: their columns of x as dense rows, quantized for int8.
  struct UpInputs {
    const char* data;
    size_t block_bytes;
    const float* row_scale;  // kTileRows for each block
    const char* block(int k) const { return data + size_t(k) * block_bytes; }
  };
  template <class T>
  UpInputs up_inputs(const T* x, int rows) const;
  // The activations that block j of `down` reads, [rows, down_width_].
  template <class T>
  void activate_block(size_t j, const UpInputs& in, int rows, T* activation) const;
  template <class T>
  void tile(const T* x, int rows, T* y) const;
  Dequantize columns(const float* row_scale, int first) const;

  HostDtype dtype_;
  int hidden_, up_blocks_, up_width_, down_width_, down_out_;  // input widths of a block of up and down, output width of one of down
  std::vector<std::vector<Panel>> panels_;                     // by block of `down`
  std::vector<PackedWeight> down_;
  std::vector<float> up_scale_, up_bias_, down_scale_, down_bias_, norm_weight_, norm_bias_;
  int intermediate_;
  float eps_;
  Activation activation_;
};

}  // namespace m2bert::ops::cpu
