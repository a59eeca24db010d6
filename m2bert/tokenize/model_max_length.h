#pragma once
#include <filesystem>
#include <optional>
#include <vector>

namespace m2bert::tokenize {

// The length limit, in tokens, in the tokenizer_config.json of the first of these folders that sets one; nullopt if none does. It is the
// model's limit: it also holds if the model is used with another vocabulary. Throws if a file is not valid JSON.
std::optional<size_t> model_max_length(const std::vector<std::filesystem::path>& folders);

}  // namespace m2bert::tokenize
