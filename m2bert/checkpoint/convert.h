#pragma once
// Converts any checkpoint to any other format.
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

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

// What a new folder says about its model.
struct ModelDescription {
  std::string config_json;           // the text of config.json; empty: that of the options
  std::vector<std::string> pooling;  // where the options name none
};

struct ConvertOptions {
  std::optional<Target> target;  // default: target_of(out)
  // Of floating-point tensors; default: unchanged. float32, float16, bfloat16, or int8 for the weights that is_quantized (quantize.h)
  // names. An int8 checkpoint is dequantized first.
  std::optional<mx::Dtype> dtype;
  std::string copy;         // prefix of the weights to take where the file holds several models (load_weights)
  std::string config_json;  // folders: the text of config.json; default: copied from the input folder, else Error
  // Called with the weights before anything is written: describes their model, and throws if they do not fit it.
  std::function<ModelDescription(const TensorMap&)> configure;
  std::map<std::string, std::string> tokenizer;  // folders: files of the tokenizer by name; default: copied from the input folder
  // For sentence_transformers when the input is no such folder. pooling: names among pooling_modes(), whose vectors are concatenated, or
  // "pooler" alone; default: that of `configure`, else Error.
  std::vector<std::string> pooling;
  bool normalize = false;
  int max_seq_length = -1;  // in tokens; -1: not written
};

struct ConvertReport {
  Target target;
  size_t tensors = 0;
  uint64_t bytes_in = 0, bytes_out = 0;
};

// Reads the weights of `in` (file or folder; names as load_weights returns them) and writes `out`, with the metadata of a safetensors
// file. A folder made from a folder keeps its description: config.json, tokenizer, and the files of sentence-transformers.
// `out` must not exist, or be of the same kind; an existing folder is replaced as a whole, and must hold files of a model folder only.
// No partial output remains after an error. Error if a weight is not finite in a narrower dtype.
ConvertReport convert(const std::filesystem::path& in, const std::filesystem::path& out, const ConvertOptions& options = {});

// The tokenizer's files in a folder, by name.
std::map<std::string, std::string> tokenizer_files(const std::filesystem::path& folder);

// Sets a member of the map in the text of a JSON file, "" for a new one. Errors call the text `source`.
void set_json_field(std::string& json, const std::string& source, const std::string& field, int value);

}  // namespace m2bert::checkpoint
