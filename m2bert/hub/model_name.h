#pragma once
// Names of models on a hub, as users write them.
#include <string>
#include <string_view>

namespace m2bert::hub {

struct ModelName {
  std::string repository;         // "org/name" or "name"
  std::string revision = "main";  // branch, tag or commit
  std::string shown() const { return revision == "main" ? repository : repository + "@" + revision; }
};

// "org/name", "name" or either with "@revision". Throws an Error with the reason for any other text, by the rules of huggingface_hub:
// letters, digits, "-", "_" and ".", at most 96 a part, neither "--" nor "..", no "-" or "." at an end, not ending in ".git".
ModelName parse_model_name(std::string_view text);

// Whether the text could be a model on a hub and is not more likely a local file: no path, no extension of a weights file.
bool looks_like_model_name(std::string_view text);

// Throws unless the text may be a revision: branch, tag or commit, "/" allowed.
void check_revision(std::string_view revision);

// 40 lower-case hexadecimal digits.
bool is_commit(std::string_view text);

}  // namespace m2bert::hub
