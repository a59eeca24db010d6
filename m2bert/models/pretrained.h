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
  Pooling pooling = Pooling::pooler;
  bool normalize = false;
  int max_length = 0;            // tokens
  bool dynamic_padding = false;  // pads a batch only to its longest sequence: padding does not change the result (attention)
  std::map<std::string, std::string> prompts;
  std::string default_prompt;  // a name in prompts; empty: none
  std::vector<std::string> labels;
  mx::Dtype dtype = mx::float32;     // of the weights
  bool computes_in_float32 = false;  // because the CPU has no GEMM of that dtype
  checkpoint::MatchReport report;
  std::vector<std::filesystem::path> weights;  // the files that were read
};

// Throws Error if there is no such file or folder (and says how to get a model), no config, or if names or shapes differ (with a table).
Pretrained load_pretrained(const std::filesystem::path& file_or_folder, const LoadOptions& options = {});

// config.json, config.yaml or config.yml in the folder of a checkpoint file, if there is one.
std::optional<std::filesystem::path> find_config_beside(const std::filesystem::path& file);

// Reads the config from a YAML recipe or a JSON file, according to the file's extension.
Config read_config(const std::filesystem::path& file, const std::vector<std::string>& overrides = {});

// The head to which weights with these names belong.
Head head_of(const checkpoint::TensorMap& weights);

// Removes the weights of other heads, and what Hugging Face saves beside the weights.
void drop_other_heads(checkpoint::TensorMap& weights, const Config& config, Head head);

}  // namespace m2bert::models
