#pragma once
// int8 weights for inference, and products with them. Each row of a weight has a scale of its own; inputs are quantized as they come, each
// row with a scale of its own. Scheme: symmetric, as oneDNN's dynamically quantized linear layers.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// Learned numbers as a product takes them: floating, or int8 with the scale of each output.
struct Weight {
  Weight(mx::array values, std::optional<mx::array> scale = std::nullopt) : values(std::move(values)), scale(std::move(scale)) {}

  mx::array values;                // [out, in] or block-diagonal [nb, out/nb, in/nb]
  std::optional<mx::array> scale;  // [out] float32, where values are int8: a weight is values * scale
};

// values = round(weight / scale) with scale = max |row| / 127; a row of zeros gets the scale 1. weight [..., in] floating.
// The error of a weight is at most half its row's scale.
Weight quantize_weight(const mx::array& weight, mx::StreamOrDevice s = {});

// The weights as float32. Floating ones stay as they are.
mx::array dequantize_weight(const Weight& weight, mx::StreamOrDevice s = {});

// y = x W^T + bias for a dense or block-diagonal weight. With int8 weights x [..., in] is quantized to int8 first, each row of each block
// with the scale max |x| / 127, and the sums of products are exact; the result has x's dtype. No gradient then.
mx::array weighted_product(const mx::array& x, const Weight& weight, const std::optional<mx::array>& bias = std::nullopt,
                           mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
