#pragma once
// int8 checkpoints: which weights are int8, and the names of their scales.
#include "m2bert/checkpoint/tensor_file.h"

namespace m2bert::checkpoint {

// Whether an int8 checkpoint stores this weight as int8, with one scale per row under scale_name(name): the matrices of linear and
// block-diagonal layers and of embeddings. Not the short convolutions, and of the filter networks only the last layer, because the values
// of the others go through steep sines.
bool is_quantized(const std::string& name, const mx::array& weight);

// "x.weight" -> "x.weight_scale"
std::string scale_name(const std::string& name);

// Throws an Error that names the source (a file) and the tensor, unless every int8 weight has finite float32 scales, one per row, and every
// scale has its int8 weight. Reads the values of the scales, not of the weights.
void check_scales(const TensorMap& tensors, const std::string& source);

// Quantizes every such floating-point weight; the rest is unchanged. Tied arrays stay tied.
TensorMap quantize(const TensorMap& tensors);

// The inverse: float32 weights, without scales. The tensors must pass check_scales.
TensorMap dequantize(const TensorMap& tensors);

// Whether any weight has a scale.
bool is_quantized(const TensorMap& tensors);

}  // namespace m2bert::checkpoint
