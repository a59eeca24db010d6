#pragma once
// int8 weights for inference, and products with them. Each row of a weight has a scale of its own; inputs are quantized as they come, each
// row with a scale of its own. Both are rotated first, by a Hadamard transform of each 64 columns: it leaves products as they are, and
// spreads the few large values of a row, which would cost all others their precision.
// Source: dynamic quantization as in oneDNN's and PyTorch's linear layers; Ashkboos et al. 2024, "QuaRot".
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// Learned numbers as a product takes them: floating, or int8 with the scale of each output.
struct Weight {
  Weight(mx::array values, std::optional<mx::array> scale = std::nullopt) : values(std::move(values)), scale(std::move(scale)) {}

  mx::array values;                // [out, in] or block-diagonal [nb, out/nb, in/nb]
  std::optional<mx::array> scale;  // [out] float32, where values are int8: a weight is rotate_columns(values * scale)
};

// The columns that are rotated together: the largest power of 2 up to 64 that divides their number.
int rotation_block(int columns);
// x [..., n] with the Hadamard transform (divided by the root of its size) of every rotation_block(n) columns; the inverse of itself.
mx::array rotate_columns(const mx::array& x, mx::StreamOrDevice s = {});

// values = round(r / scale), r = rotate_columns(weight), with scale = max |row of r| / 127; a row of zeros gets the scale 1. weight [...,
// in] floating.
Weight quantize_weight(const mx::array& weight, mx::StreamOrDevice s = {});

// The weights as float32. Floating ones stay as they are.
mx::array dequantize_weight(const Weight& weight, mx::StreamOrDevice s = {});

// y = x W^T + bias for a dense or block-diagonal weight. With int8 weights x [..., in] is rotated and quantized to int8 first, each row of
// each block with the scale max |x| / 127, and the sums of products are exact; the result has x's dtype. No gradient then.
mx::array weight_matmul(const mx::array& x, const Weight& weight, const std::optional<mx::array>& bias = std::nullopt,
                           mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
