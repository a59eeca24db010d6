#pragma once
// The linear layers of self-attention, packed for inference.
#include <memory>
#include <vector>

#include "m2bert/nn/layer_norm.h"
#include "m2bert/nn/linear.h"
#include "m2bert/ops/packed_linear.h"

namespace m2bert::models::packed {

struct Attention {
  std::unique_ptr<ops::PackedLinear> qkv;  // H -> 3 H
  std::unique_ptr<ops::PackedLinear> out;  // H -> H, with residual and norm
};

// qkv: one layer H -> 3 H, or three H -> H. Evaluates the weights. Null if the device has no kernel for them (ops::pack_linear).
std::unique_ptr<Attention> pack_attention(const std::vector<const nn::Linear*>& qkv, const nn::Linear& dense, const nn::LayerNorm& norm);

}  // namespace m2bert::models::packed
