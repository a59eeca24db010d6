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
  std::vector<std::string> texts;  // --text, as often as wanted
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
  // False: at the end. Error names file, line and field.
  virtual bool next(std::string& text) = 0;
};

// UsageError if there is neither --text nor INPUT and stdin is a terminal, or if there are both; Error if the file is missing.
void check_texts(const TextOption& option);

// Opens them: --text, else INPUT, else stdin. Errors as check_texts().
std::unique_ptr<Texts> open_texts(const TextOption& option);

// Whether the texts can be read twice: --text and regular files can, pipes cannot.
bool can_reread(const TextOption& option);

// Number of texts and the hash of all of them, by reading them once.
struct TextSummary {
  uint64_t texts = 0;
  std::string hash;
};
TextSummary summarize(Texts& texts);

// Adds a text to the hash of all texts before it.
void add_text(io::Hasher& hasher, const std::string& text);

// All of them at once, for commands whose input is small.
std::vector<std::string> all_texts(const TextOption& option);

}  // namespace m2bert::cli
