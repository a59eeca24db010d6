#pragma once
// Model weights from any checkpoint: upstream's prefixes are removed; optimizer and random state are not read.
#include "m2bert/checkpoint/tensor_file.h"

namespace m2bert::checkpoint {

// The weights of a file (.pt, .pth, .bin, .safetensors) or of a Hugging Face folder, under the names of upstream's model:
//  - {'state': {'model': ..}} (Composer), {'state_dict': ..}, {'model_state_dict': ..}, {'module': ..} and {'model': ..} are entered;
//  - "module." and "0.auto_model." are removed, then a leading "model.";
//  - names of a Hugging Face BertModel without head ("embeddings.", "encoder.", "pooler.") get the prefix "bert.";
//  - LayerNorm's old gamma and beta become weight and bias;
//  - optimizer, scheduler and random state are not read.
// Tied tensors stay one array. float64 becomes float32, because MLX has float64 on the CPU only; other dtypes are unchanged.
TensorMap load_weights(const std::filesystem::path& file_or_folder);

// The name under which load_weights returns each tensor of a file that holds `names`; empty if it skips the tensor.
std::vector<std::string> weight_names(const std::vector<std::string>& names);

}  // namespace m2bert::checkpoint
