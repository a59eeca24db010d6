#include "m2bert/ops/packed_linear.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"

namespace m2bert::ops {

namespace {

mx::array joined(std::vector<mx::array> parts, mx::StreamOrDevice s) { return parts.size() == 1 ? parts[0] : mx::concatenate(parts, 0, s); }

// All layers as one; nullopt if their dtypes differ.
std::optional<LinearWeights> joined(const std::vector<LinearWeights>& layers, mx::StreamOrDevice s) {
  std::vector<mx::array> values, scales, biases;
  for (const auto& layer : layers) {
    const auto& w = layer.weight;
    require(w.values.ndim() == 2 && w.values.shape(1) == layers[0].weight.values.shape(1), "[pack_linear] weight has shape ",
            w.values.shape(), ", the first one ", layers[0].weight.values.shape());
    const auto out = size_t(w.values.shape(0));
    require((!layer.bias || layer.bias->size() == out) && (!w.scale || w.scale->size() == out),
            "[pack_linear] the bias or the scales do not have ", out, " values");
    if (w.values.dtype() != layers[0].weight.values.dtype()) return std::nullopt;
    values.push_back(w.values);
    if (w.scale) scales.push_back(*w.scale);
    biases.push_back(layer.bias ? *layer.bias : mx::zeros({w.values.shape(0)}));
  }
  LinearWeights all{joined(values, s), joined(biases, s)};
  if (scales.size() == values.size()) all.weight.scale = joined(scales, s);
  return all;
}

}  // namespace

std::unique_ptr<PackedLinear> pack_linear(const std::vector<LinearWeights>& layers, const std::optional<NormWeights>& norm,
                                          mx::StreamOrDevice s) {
  require(!layers.empty(), "[pack_linear] there are no layers");
  if (!has_kernels(s)) return nullptr;
  const auto all = joined(layers, s);
  return all ? backend_for(s).pack_linear(*all, norm, mx::to_stream(s)) : nullptr;
}

}  // namespace m2bert::ops
