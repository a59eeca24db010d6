#pragma once
// A tokenizer.json of the tokenizers package. Internal to the folder.
#include "m2bert/io/tree.h"
#include "m2bert/tokenize/model.h"

#include <string>

namespace m2bert::tokenize {

// The parts of a BERT tokenizer. Throws an Error, with file and key, for a component or setting that BERT tokenizers do not have.
ModelParts parse_tokenizer_json(std::string_view text, const std::string& name);

// A special token's text, written as a string or as a map with "content".
std::string token_content(const io::Tree& token);

// An added token with its flags; `flags` is a map.
AddedToken added_token(const io::Tree& flags, int32_t id);

}  // namespace m2bert::tokenize
