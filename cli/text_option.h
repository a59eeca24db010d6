#pragma once
// The options that say which texts a command works on, and the texts themselves.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/io/hash.h"

namespace CLI {
class App;
}

namespace m2bert::cli {

struct TextOption {
  std::vector<std::string> texts;  // --text, any number
  std::string file;                // INPUT; "-" is stdin
  std::string format;              // --format: text, jsonl, csv, tsv; empty: by the file's extension
  std::string field;               // --field: JSONL key path or CSV column
};

// Adds INPUT, --text, --format and --field.
void add_text_options(CLI::App& app, TextOption& option);

// Texts in order, one at a time.
class Texts {
 public:
  virtual ~Texts() = default;
  // False at the end. Error names file, line and field.
  virtual bool next(std::string& text) = 0;
};

// UsageError if neither --text nor INPUT is given and stdin is a terminal, or if both are; Error if the file is missing.
void check_texts(const TextOption& option);

// Opens --text, else INPUT, else stdin. Errors: see check_texts.
std::unique_ptr<Texts> open_texts(const TextOption& option);

// Whether the texts can be read twice: --text and regular files can, pipes cannot.
bool can_reread(const TextOption& option);

// The number of texts and the hash of all of them.
struct TextSummary {
  uint64_t texts = 0;
  std::string hash;
};
TextSummary summarize(Texts& texts);

// Adds a text to the hash of the texts before it.
void add_text(io::Hasher& hasher, const std::string& text);

// All texts at once, for commands with small inputs.
std::vector<std::string> all_texts(const TextOption& option);

}  // namespace m2bert::cli
