#pragma once
// int8 checkpoints: which weights are int8, and the names of their scales.
#include <optional>

#include "m2bert/checkpoint/tensor_file.h"

namespace m2bert::checkpoint {

// What a folder with int8 weights has in its config.json as quantization_config.format. Transformers cannot read such weights, and would
// take them for the values themselves; a quantization_config that names no method of its own makes it refuse the folder.
inline constexpr const char* int8_format = "m2bert int8";

// The dtype of a weight in an int8 checkpoint: int8, with one scale per row under scale_name(name), or bfloat16; nullopt for tensors that
// are stored as they are.
//
// Attention models: int8 for every matrix, those of linear and block-diagonal layers and of embeddings.
// Monarch Mixer models: int8 for the word embeddings and in_linear, bfloat16 for the other matrices. There is no residual around the mixer,
// so errors of out_linear and of what follows it reach all later layers. A row of the token type or position embeddings is added to many
// tokens, whose errors then do not average out.
// Always as they are: biases, norms, short convolutions, and the filter networks, which are evaluated once per sequence length.
std::optional<mx::Dtype> int8_checkpoint_dtype(const std::string& name, const mx::array& weight, bool monarch_mixer);

// "x.weight" -> "x.weight_scale"
std::string scale_name(const std::string& name);

// Throws an Error that names the source (a file) and the tensor, unless every int8 weight has finite float32 scales, one per row, and every
// scale has its int8 weight. Reads the values of the scales, not of the weights.
void check_scales(const TensorMap& tensors, const std::string& source);

// Casts floating-point weights to these dtypes; the rest is unchanged. Tied arrays stay tied.
TensorMap quantize(const TensorMap& tensors);

// The inverse: float32 weights, without scales. The tensors must pass check_scales.
TensorMap dequantize(const TensorMap& tensors);

// Whether any weight has a scale.
bool is_quantized(const TensorMap& tensors);

}  // namespace m2bert::checkpoint
