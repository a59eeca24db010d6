#pragma once
// Model folders: Hugging Face (config.json beside the weights) and sentence-transformers (modules.json on top of that).
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace m2bert::checkpoint {

// Which poolings 1_Pooling/config.json switches on; their vectors are concatenated in this order.
struct PoolingModes {
  bool cls = false, max = false, mean = false, mean_sqrt_len = false, weighted_mean = false, last_token = false;
  bool include_prompt = true;
  int dimension = -1;  // word_embedding_dimension; -1 when not said
};

struct DenseModule {
  std::filesystem::path weights;  // tensors linear.weight [out, in] and linear.bias [out]
  int in_features = -1, out_features = -1;
  bool bias = true;
  std::string activation;  // "torch.nn.modules.activation.Tanh", "torch.nn.modules.linear.Identity", ...
};

struct ModelFolder {
  std::filesystem::path root;                  // as given
  std::filesystem::path model;                 // where config.json and the weights lie (root, or root/0_Transformer)
  std::filesystem::path config;                // model/config.json; empty when absent
  std::vector<std::filesystem::path> weights;  // one file, or the shards in the index's order

  bool sentence_transformers = false;  // there is a modules.json; what follows is read from it and beside it
  std::optional<PoolingModes> pooling;
  std::vector<DenseModule> dense;
  bool normalize = false;  // modules.json names Normalize (its own folder may be missing)
  std::optional<int> max_seq_length;
  std::optional<bool> do_lower_case;  // sentence_bert_config.json: text is lowered before the tokenizer
  std::map<std::string, std::string> prompts;
  std::string default_prompt;  // name of a prompt, empty for none
  std::string similarity;      // similarity_fn_name, empty when not said
};

// Reads the description of a model folder; host only, no weights are opened. Error that names the file and field that is
// missing, contradictory or of an unknown kind, and for a path that leads out of the folder.
ModelFolder read_folder(const std::filesystem::path& folder);

// Whether it is a file that may hold a model's weights, by its name.
bool is_weights_file(const std::filesystem::path& file);

// Files that write_folder_description makes beside the weights.
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
