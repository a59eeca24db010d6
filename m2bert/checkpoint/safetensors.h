#pragma once
// safetensors with MLX arrays: reading through TensorFile::open, writing.
#include "m2bert/checkpoint/tensor_file.h"

namespace m2bert::checkpoint {

// Opens a safetensors file after checking its header (see safetensors_header.h).
std::unique_ptr<TensorFile> open_safetensors(const std::filesystem::path& file);

// Writes atomically. metadata gets {"format": "pt"} unless it has a format. Arrays that share memory are stored once, under the
// alphabetically first name; metadata maps the other names to it, as safetensors.torch.save_model does.
void save_safetensors(const std::filesystem::path& file, const TensorMap& tensors, const std::map<std::string, std::string>& metadata = {});

}  // namespace m2bert::checkpoint
