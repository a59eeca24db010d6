#pragma once
// int8 weights for inference, and matmuls with them. Each row of a weight has its own scale. Inputs are quantized on the fly, each row with
// its own scale. Both are rotated first by a Hadamard transform of every 64 columns: this does not change the result of a matmul, and
// spreads the few large values of a row, which would otherwise cost all others their precision.
// Source: dynamic quantization as in oneDNN's and PyTorch's linear layers; Ashkboos et al. 2024, "QuaRot".
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// The weight of a matmul: floating-point, or int8 with a scale per output.
struct Weight {
  Weight(mx::array values, std::optional<mx::array> scale = std::nullopt) : values(std::move(values)), scale(std::move(scale)) {}

  mx::array values;                // [out, in] or block-diagonal [nb, out/nb, in/nb]
  std::optional<mx::array> scale;  // [out] float32, with int8 values: the weight is rotate_columns(values * scale)
};

// How many columns are rotated together: the largest power of 2 up to 64 that divides their number.
int rotation_block(int columns);
// x [..., n] with every rotation_block(n) columns Hadamard-transformed (divided by the square root of the size). Its own inverse.
mx::array rotate_columns(const mx::array& x, mx::StreamOrDevice s = {});

// values = round(r / scale), r = rotate_columns(weight), with scale = max |row of r| / 127; a row of zeros gets scale 1. weight [..., in],
// floating.
Weight quantize_weight(const mx::array& weight, mx::StreamOrDevice s = {});

// The weights as float32. Floating-point weights are returned unchanged.
mx::array dequantize_weight(const Weight& weight, mx::StreamOrDevice s = {});

// y = x W^T + bias for a dense or block-diagonal weight. With int8 weights, x [..., in] is first rotated and quantized to int8, each row of
// each block with the scale max |x| / 127, and the dot products are exact; the result has x's dtype, and there is no gradient.
mx::array weight_matmul(const mx::array& x, const Weight& weight, const std::optional<mx::array>& bias = std::nullopt,
                        mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
