#pragma once
// Model folders: Hugging Face (config.json beside the weights), sentence-transformers (modules.json on top of that), and the folder of a
// training run, which stands for its newest checkpoint and its recipe.
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace m2bert::checkpoint {

// What 1_Pooling/config.json says.
struct PoolingConfig {
  std::vector<std::string> modes;  // of pooling_modes(); their vectors are concatenated in this order
  bool include_prompt = true;      // false: the tokens of a prompt are left out
  int dimension = -1;              // of the states; -1 if absent
  std::string error;               // the modes are not known; an error only where no other pooling is chosen
};

// cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken: the names and order of sentence-transformers.
const std::vector<std::string>& pooling_modes();

// A module of sentence-transformers that changes the pooled vectors.
struct VectorModule {
  enum class Kind { dense, layer_norm, normalize };
  Kind kind = Kind::normalize;
  std::filesystem::path folder;   // with its config.json; may be missing for Normalize
  std::filesystem::path weights;  // Dense: linear.weight [out, in], linear.bias [out], residual.weight [out, in]; LayerNorm: norm.weight
                                  // and norm.bias
  int in_features = -1, out_features = -1;  // Dense
  bool bias = true;
  bool residual = false;   // adds the input, through residual.weight where the sizes differ
  std::string activation;  // "torch.nn.modules.activation.Tanh", "torch.nn.modules.linear.Identity", ...
};

struct ModelFolder {
  std::filesystem::path root;                  // as given
  std::filesystem::path model;                 // the folder with config.json and the weights (root, or root/0_Transformer)
  std::filesystem::path config;                // model/config.json; empty if absent
  std::vector<std::filesystem::path> weights;  // one file, or the shards in the index's order

  bool sentence_transformers = false;  // has a modules.json; the fields below come from it and the files beside it
  std::optional<PoolingConfig> pooling;
  bool pooler = false;                // there is no Pooling module: vectors are the output of the model's pooler
  std::vector<VectorModule> modules;  // in order, without a Normalize at the end
  bool normalize = false;             // the last module is Normalize
  std::optional<int> truncate_dim;    // the vectors' first values only
  std::optional<int> max_seq_length;
  std::optional<bool> do_lower_case;  // sentence_bert_config.json: text is lower-cased before the tokenizer
  std::map<std::string, std::string> prompts;
  std::string default_prompt;        // name of a prompt; empty: none
  std::string similarity;            // similarity_fn_name; empty if absent
  std::string vectors_error;         // why the folder gives no vectors (its model is of another kind); empty: it does
  std::vector<std::string> ignored;  // "file: field" that no program is known to read
};

// Reads the description of a model folder without opening the weights. Throws an Error that names the file and the field if one is
// missing, contradictory or of an unknown kind, could change the vectors and is not supported, or if a path leads out of the folder.
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
  PoolingConfig pooling;
  bool normalize = false;
  std::optional<int> max_seq_length;
  std::optional<bool> do_lower_case;
  std::map<std::string, std::string> prompts;
  std::string default_prompt;
};
void write_folder_description(const std::filesystem::path& folder, const FolderDescription& description);

}  // namespace m2bert::checkpoint
