#pragma once
// The fields of a model folder that do not change its vectors. Every other field is applied, or refused where it is read.
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/io/tree.h"

namespace m2bert::checkpoint {

struct HarmlessField {
  std::string_view file;  // "config.json", "sentence_bert_config.json", ...; of a module: "Pooling", "Dense", ...
  std::string_view field;
  std::string_view reason;  // why vectors, labels and words do not depend on it
};

// The table, sorted by file. tests/parity/test_folders.py compares vectors with and without the entries that the packages read.
std::span<const HarmlessField> harmless_fields();

bool is_harmless(std::string_view file, std::string_view field);

// The keys of `map` that are neither among `read` nor harmless in this file.
std::vector<const io::Tree::Member*> other_fields(const io::Tree& map, std::string_view file, const std::vector<std::string>& read);

// Error that names file and field if there is such a key.
void refuse_other_fields(const io::Tree& map, std::string_view file, const std::vector<std::string>& read);

}  // namespace m2bert::checkpoint
