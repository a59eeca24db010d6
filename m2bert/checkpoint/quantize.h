#pragma once
// int8 checkpoints: which weights they hold as int8, and their names.
#include "m2bert/checkpoint/tensor_file.h"

namespace m2bert::checkpoint {

// Whether an int8 checkpoint holds the weight of that name as int8, with a scale for each of its rows under scale_name(name): matrices of
// linear and block-diagonal layers and of embeddings. Not the short convolutions, and of the networks behind the long filters the last layer
// alone: the others' values go through steep sines.
bool is_quantized(const std::string& name, const mx::array& weight);

// "x.weight" -> "x.weight_scale"
std::string scale_name(const std::string& name);

// Every such weight of floating numbers as int8 with its scales; the rest as it is. Arrays that are one stay one.
TensorMap quantize(const TensorMap& tensors);

// The inverse: float32 weights, without the scales. Throws Error where a scale has no int8 weight of as many rows.
TensorMap dequantize(const TensorMap& tensors);

// Whether any weight has a scale.
bool is_quantized(const TensorMap& tensors);

}  // namespace m2bert::checkpoint
