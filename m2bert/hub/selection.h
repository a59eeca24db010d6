#pragma once
// Which files of a repository are downloaded.
#include <string>
#include <vector>

namespace m2bert::hub {

struct Selection {
  std::vector<std::string> include;  // globs; these files instead of those that a model needs
  std::vector<std::string> exclude;  // globs
  bool all = false;                  // every file
};

// Shell pattern against a whole name; "*" and "?" also match "/", a pattern that ends in "/" matches everything below it.
bool matches_glob(const std::string& glob, const std::string& name);
bool matches_any_glob(const std::vector<std::string>& globs, const std::string& name);

// Whether the name has the extension of a weights file: *.safetensors, *.bin, *.pt or *.pth.
bool is_weights_name(const std::string& name);

// The files of a repository to download, weights last. Without include and all these, at the top and in folders such as 1_Pooling:
// config.json, vocab.txt, tokenizer*.json, special_tokens_map.json, added_tokens.json, modules.json, sentence_*_config.json,
// config_sentence_transformers.json, *.yaml, *.yml, and the weights in one format: model.safetensors, else its shards, else
// pytorch_model.bin, else its shards, else the other *.safetensors, else *.bin, else *.pt and *.pth (but no optimizer's and the like).
std::vector<std::string> select_files(std::vector<std::string> files, const Selection& selection);

}  // namespace m2bert::hub
