#pragma once
// The files beside a vocabulary that change token ids: tokenizer_config.json, special_tokens_map.json, added_tokens.json, and the class
// that config.json implies. Internal to the folder.
#include "m2bert/tokenize/model.h"

#include <filesystem>

namespace m2bert::tokenize {

// Applies the files of a model folder to `parts`, which come from its tokenizer.json or, with from_json false, its vocab.txt. The result is
// what AutoTokenizer of Transformers makes of the folder. Each field is applied, known to be harmless, or an Error that names file and key:
// unsupported classes and settings, and files that contradict each other where versions 4 and 5 of Transformers choose differently. Warns
// of unknown fields, and of settings of tokenizer.json that only version 4 applies.
void apply_folder_files(const std::filesystem::path& folder, bool from_json, ModelParts& parts);

}  // namespace m2bert::tokenize
