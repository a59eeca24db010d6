#pragma once
// int8 checkpoints: which weights they hold as int8, and their names.
#include "m2bert/checkpoint/tensor_file.h"

namespace m2bert::checkpoint {

// Whether an int8 checkpoint holds the weight of that name as int8, with a scale for each of its rows under scale_name(name): matrices of
// linear and block-diagonal layers and of embeddings. Not the short convolutions, and of the networks behind the long filters the last
// layer alone: the others' values go through steep sines.
bool is_quantized(const std::string& name, const mx::array& weight);

// "x.weight" -> "x.weight_scale"
std::string scale_name(const std::string& name);

// Throws Error, which names the source (a file) and the tensor, unless each int8 weight has finite float32 scales, one for each of its
// rows, and each scale its int8 weight. Reads the scales' values, not the weights'.
void check_scales(const TensorMap& tensors, const std::string& source);

// Every such weight of floating numbers as int8 with its scales; the rest as it is. Arrays that are one stay one.
TensorMap quantize(const TensorMap& tensors);

// The inverse: float32 weights, without the scales. The tensors are such that check_scales takes them.
TensorMap dequantize(const TensorMap& tensors);

// Whether any weight has a scale.
bool is_quantized(const TensorMap& tensors);

}  // namespace m2bert::checkpoint
