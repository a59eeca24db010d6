#pragma once
// Names on a model hub: repositories and revisions as people write them, and the names that a server gives, which are not trusted.
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/io/inner_path.h"

namespace m2bert::checkpoint {

struct HubName {
  std::string repository;         // "org/name" or "name"
  std::string revision = "main";  // branch, tag or commit
  std::string shown() const { return revision == "main" ? repository : repository + "@" + revision; }
};

// "org/name", "name" or either with "@revision". Error that says what is wrong, by the rules of huggingface_hub: letters, digits, "-", "_"
// and ".", at most 96 a part, neither "--" nor "..", no "-" or "." at an end, not ending in ".git".
HubName parse_hub_name(std::string_view text);

// Whether the text could be a hub's name and is not more likely a local file: no path, no ending of a weight file.
bool looks_like_hub_name(std::string_view text);

// Error unless it may be a revision: branch, tag or commit, "/" allowed.
void check_revision(std::string_view revision);

// 40 lower-case hexadecimal digits.
bool is_commit(std::string_view text);

using io::why_unsafe;

// An ETag header without W/ and quotes. Error for one that is no plain name of up to 128 letters, digits, "-", "_" and ".".
std::string plain_etag(std::string_view header, const std::string& file);

// What is taken of a repository.
struct HubSelection {
  std::vector<std::string> include;  // globs, "*" also over "/": these files instead of those that a model needs
  std::vector<std::string> exclude;  // globs: not these
  bool all = false;                  // every file
};

// Shell pattern against a whole name; "*" and "?" also match "/", a pattern that ends in "/" means all below it.
bool matches_glob(const std::string& glob, const std::string& name);

// The files of a repository that are taken, weights last. Without include and all these, at the top and in folders such as 1_Pooling:
// config.json, vocab.txt, tokenizer*.json, special_tokens_map.json, added_tokens.json, modules.json, sentence_*_config.json,
// config_sentence_transformers.json, *.yaml, *.yml, and the weights of one kind: model.safetensors, else its shards, else
// pytorch_model.bin, else its shards, else the other *.safetensors, else *.bin, else *.pt and *.pth (but no optimizer's and the like).
std::vector<std::string> selected_files(std::vector<std::string> files, const HubSelection& selection);

}  // namespace m2bert::checkpoint
