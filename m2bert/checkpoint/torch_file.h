#pragma once
// PyTorch files with MLX arrays: reading through TensorFile::open, writing in the layout of Composer.
#include "m2bert/checkpoint/tensor_file.h"

namespace m2bert::checkpoint {

// Opens a PyTorch file, zip or legacy format (torch_index.h says what is supported).
std::unique_ptr<TensorFile> open_torch_file(const std::filesystem::path& file);

// Writes {'state': {'model': {'model.' + name: tensor}}, 'rng': []} in PyTorch's zip format, atomically, as Composer does:
// torch.load(weights_only=True) and upstream read it. Arrays that share memory share a storage.
void save_composer_pt(const std::filesystem::path& file, const TensorMap& model_state);

}  // namespace m2bert::checkpoint
