#include "m2bert/models/packed/attention.h"

namespace m2bert::models::packed {

std::unique_ptr<Attention> pack_attention(const std::vector<const nn::Linear*>& qkv, const nn::Linear& dense, const nn::LayerNorm& norm) {
  std::vector<ops::LinearWeights> layers;
  for (const auto* layer : qkv) layers.push_back({layer->matrix(), layer->bias});
  auto packed = std::make_unique<Attention>();
  packed->qkv = ops::pack_linear(layers);
  packed->out = ops::pack_linear({{dense.matrix(), dense.bias}}, ops::NormWeights{norm.weight, norm.bias, norm.eps()});
  return packed->qkv && packed->out ? std::move(packed) : nullptr;
}

}  // namespace m2bert::models::packed
