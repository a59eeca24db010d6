#pragma once
// Converts any checkpoint to any other format.
#include <functional>
#include <optional>

#include "m2bert/checkpoint/tensor_file.h"

namespace m2bert::checkpoint {

enum class Target {
  safetensors,            // one .safetensors file
  composer_pt,            // one .pt file, {'state': {'model': ..}}
  hugging_face,           // folder: config.json, model.safetensors
  sentence_transformers,  // folder: also modules.json, 1_Pooling/config.json and 2_Normalize
};

// The target that a path implies: .safetensors or .bin → safetensors, .pt or .pth → composer_pt, no extension or an existing folder →
// hugging_face. Throws for any other extension.
Target target_of(const std::filesystem::path& out);
bool is_folder(Target target);

struct ConvertOptions {
  std::optional<Target> target;  // default: target_of(out)
  // Of floating-point tensors; default: unchanged. float32, float16, bfloat16, or int8 for the weights that is_quantized (quantize.h)
  // names. An int8 checkpoint is dequantized first.
  std::optional<mx::Dtype> dtype;
  std::string config_json;      // folders: the text of config.json; default: copied from the input folder, else Error
  std::string pooling = "cls";  // sentence_transformers, when the input is no such folder: "cls" or "mean"
  bool normalize = false;
  int max_seq_length = -1;  // -1: not written
};

struct ConvertReport {
  Target target;
  size_t tensors = 0;
  uint64_t bytes_in = 0, bytes_out = 0;
};

// Reads the weights of `in` (file or folder; names as load_weights returns them) and writes `out`. Copies tokenizer files from an input
// folder to an output folder. `out` must not exist, or be of the same kind. No partial output remains after an error.
ConvertReport convert(const std::filesystem::path& in, const std::filesystem::path& out, const ConvertOptions& options = {});

}  // namespace m2bert::checkpoint
