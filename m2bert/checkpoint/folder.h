#pragma once
// Model folders: Hugging Face (config.json beside the weights), sentence-transformers (modules.json on top of that), and the folder of a
// training run, which stands for its newest checkpoint and its recipe.
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace m2bert::checkpoint {

// The pooling modes that 1_Pooling/config.json enables; their vectors are concatenated in this order.
struct PoolingModes {
  bool cls = false, max = false, mean = false, mean_sqrt_len = false, weighted_mean = false, last_token = false;
  bool include_prompt = true;
  int dimension = -1;  // word_embedding_dimension; -1 if absent
};

struct DenseModule {
  std::filesystem::path weights;  // tensors linear.weight [out, in] and linear.bias [out]
  int in_features = -1, out_features = -1;
  bool bias = true;
  std::string activation;  // "torch.nn.modules.activation.Tanh", "torch.nn.modules.linear.Identity", ...
};

struct ModelFolder {
  std::filesystem::path root;                  // as given
  std::filesystem::path model;                 // the folder with config.json and the weights (root, or root/0_Transformer)
  std::filesystem::path config;                // model/config.json; empty if absent
  std::vector<std::filesystem::path> weights;  // one file, or the shards in the index's order

  bool sentence_transformers = false;  // has a modules.json; the fields below come from it and the files beside it
  std::optional<PoolingModes> pooling;
  std::vector<DenseModule> dense;
  bool normalize = false;  // modules.json names Normalize (its own folder may be missing)
  std::optional<int> max_seq_length;
  std::optional<bool> do_lower_case;  // sentence_bert_config.json: text is lower-cased before the tokenizer
  std::map<std::string, std::string> prompts;
  std::string default_prompt;  // name of a prompt; empty: none
  std::string similarity;      // similarity_fn_name; empty if absent
};

// Reads the description of a model folder without opening the weights. Throws an Error that names the file and the field if one is
// missing, contradictory or of an unknown kind, or if a path leads out of the folder.
ModelFolder read_folder(const std::filesystem::path& folder);

// Whether a file may hold a model's weights, by its name.
bool is_weights_file(const std::filesystem::path& file);

// Whether the path is a folder with a whole model. If its description cannot be read, weights without an index of shards are enough, so
// that the error appears where the model is loaded.
bool holds_model(const std::filesystem::path& folder);

// The files that write_folder_description writes beside the weights.
struct FolderDescription {
  std::string config_json;  // text of config.json
  bool sentence_transformers = false;
  PoolingModes pooling;
  bool normalize = false;
  std::optional<int> max_seq_length;
  std::optional<bool> do_lower_case;
  std::map<std::string, std::string> prompts;
  std::string default_prompt;
};
void write_folder_description(const std::filesystem::path& folder, const FolderDescription& description);

}  // namespace m2bert::checkpoint
