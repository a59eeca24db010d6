#pragma once
// A trained model from a file or folder, ready to run: config, weights, tokenizer, and the folder's settings for vectors.
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/checkpoint/match.h"
#include "m2bert/models/model.h"
#include "m2bert/models/vector_modules.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::models {

struct LoadOptions {
  std::optional<std::filesystem::path> config;     // YAML recipe or config.json; default: the folder's, or the one beside the file
  std::optional<std::filesystem::path> tokenizer;  // vocab.txt, tokenizer.json or folder; default: the folder's, else bert-base-uncased
  std::optional<mx::Dtype> dtype;                  // float32, bfloat16, float16 or int8; default: float32, or int8 if the file is
  std::optional<Head> head;                        // default: follows from the names in the file
  bool allow_missing = false;                      // weights missing from the file keep their initial values
  bool allow_unexpected = false;                   // names unknown to the model are ignored
  bool takes_text = true;                          // false: no tokenizer, no settings for vectors, only the model
  bool pack = true;                                // packs the weights for inference (Model::pack)
};

struct Pretrained {
  Config config;
  std::unique_ptr<Model> model;
  tokenize::WordPiece tokenizer = tokenize::WordPiece::builtin();
  Poolings pooling = {Pooling::pooler};
  std::string pooling_note;    // why this pooling, where neither the folder nor the checkpoint says it; empty: one of them does
  std::string pooling_error;   // why the folder's pooling cannot be used; another one can
  std::string vectors_error;   // why the folder's model gives no vectors
  bool include_prompt = true;  // false: the tokens of a prompt are left out of the pooling
  VectorModules modules;       // after the pooling
  bool normalize = false;
  std::optional<int> truncate_dim;  // the vectors' first values only
  std::string similarity;           // the folder's measure; empty: none is named
  int max_length = 0;               // tokens, to which texts are truncated by default
  int max_positions = 0;            // tokens that the model can take; 0: max_length
  bool dynamic_padding = false;     // pads a batch only to its longest sequence: padding does not change the result (attention)
  std::map<std::string, std::string> prompts;
  std::string default_prompt;  // a name in prompts; empty: none
  std::vector<std::string> labels;
  mx::Dtype dtype = mx::float32;     // of the weights
  bool computes_in_float32 = false;  // because the CPU has no GEMM of that dtype
  checkpoint::MatchReport report;
  std::vector<std::filesystem::path> weights;  // the files that were read
};

// Throws Error if there is no such file or folder (and says how to get a model), no config, if names or shapes differ (with a table), or if
// the vocabulary or the number of labels do not fit.
Pretrained load_pretrained(const std::filesystem::path& file_or_folder, const LoadOptions& options = {});

// config.json, config.yaml or config.yml in the folder of a checkpoint file, if there is one.
std::optional<std::filesystem::path> find_config_beside(const std::filesystem::path& file);

// Reads the config from a YAML recipe or a JSON file, according to the file's extension.
Config read_config(const std::filesystem::path& file, const std::vector<std::string>& overrides = {});

// Takes num_labels from the rows of a classifier if the config does not say it (the GLUE recipes leave it to the task). Error, which names
// `where`, if it says another number.
void adopt_num_labels(Config& config, const checkpoint::TensorMap& weights, const std::string& where);

// The head to which weights with these names belong.
Head head_of(const checkpoint::TensorMap& weights);

// Removes the weights of other heads, and what Hugging Face saves beside the weights.
void drop_other_heads(checkpoint::TensorMap& weights, const Config& config, Head head);

}  // namespace m2bert::models
