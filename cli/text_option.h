#pragma once
// The options that say which texts a command works on, and the texts themselves.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/data/source.h"
#include "m2bert/io/hash.h"

namespace CLI {
class App;
}

namespace m2bert::cli {

// How files of texts are read.
struct ReadOption {
  std::string format;     // --format: text, jsonl, csv, tsv; empty: by the file's extension
  std::string field;      // --field: JSONL key path or CSV column
  std::string delimiter;  // --delimiter of tables
  bool skip_bad = false;  // --skip-bad
};

// A field that is carried into the output, by another name if one is given.
struct KeptField {
  std::string field, name;
};

struct TextOption : ReadOption {
  std::vector<std::string> texts;  // --text, any number
  std::vector<std::string> pairs;  // the second text of each --text; empty: none
  std::string file;                // INPUT; "-" is stdin
  std::vector<std::string> keep;   // --keep: FIELD or FIELD=NAME
  std::string pair_field;          // field of the second text; empty: none
  std::string spans_field;         // field of the passages' ends; empty: none
};

// Adds --format, --field, --delimiter and --skip-bad. input: what the files are called, "file"; what: what the field holds, "text".
void add_read_options(CLI::App& app, ReadOption& option, const std::string& input, const std::string& what);
// Put behind the error of a data::BadRecord.
inline constexpr const char* skip_bad_remedy = "; --skip-bad passes over such lines";
data::SourceOptions source_options(const ReadOption& option);
// UsageError for --field and --delimiter if no input has a use for them.
void check_read_options(const ReadOption& option, const std::vector<std::filesystem::path>& inputs);

// Adds INPUT, --text, --format, --field, --delimiter and --skip-bad.
void add_text_options(CLI::App& app, TextOption& option);

// Adds --keep. input: what the file is called, "input".
void add_keep_option(CLI::App& app, TextOption& option, const std::string& input);
// UsageError for --keep if the output is not JSON, and for a name that the output itself uses or that is given twice.
void check_keep(const TextOption& option, bool json, const std::vector<std::string>& own_names);

// Texts in order, one at a time.
class Texts {
 public:
  virtual ~Texts() = default;
  // False at the end. Error names file, line and field, and what to do.
  virtual bool next(std::string& text) = 0;
  // The number of the last text in the input, from 0. Texts that --skip-bad passed over count.
  virtual uint64_t index() const = 0;
  // The fields of the last text that --keep names.
  virtual io::Tree kept() const { return io::Tree::map(); }
  // The second text, where the last text is one of a pair.
  virtual std::string second() const { return ""; }
  // The field TextOption::spans_field of the last text; null: none was asked for.
  virtual io::Tree spans() const { return {}; }
  // Texts that --skip-bad passed over, and why the first one was.
  virtual uint64_t skipped() const { return 0; }
  virtual std::string first_skipped() const { return ""; }
};

// UsageError if neither --text nor INPUT is given and stdin is a terminal, if both are, or if an option has no effect; Error if the file is
// missing or a --text is not UTF-8.
void check_texts(const TextOption& option);

// UsageError if an option that says how files are read is given. why: put behind its name.
void refuse_read_options(const TextOption& option, const std::string& why);

// UsageError for a value that is not UTF-8.
void check_option_text(const std::string& option, const std::string& value);

// Opens --text, else INPUT, else stdin. Errors: see check_texts.
std::unique_ptr<Texts> open_texts(const TextOption& option);

// Whether the texts can be read twice: --text and regular files can, pipes cannot.
bool can_reread(const TextOption& option);

// Warns of texts that were passed over.
void report_skipped(uint64_t skipped, const std::string& first);

// The number of texts and the hash of all of them, and what --skip-bad passed over.
struct TextSummary {
  uint64_t texts = 0;
  std::string hash;
  uint64_t skipped = 0;
  std::string first_skipped;
};
TextSummary summarize(Texts& texts);

// Adds the last text, its number and its kept fields to the hash of the texts before it.
void add_text(io::Hasher& hasher, const std::string& text, const Texts& texts);

// All texts at once, for commands with small inputs.
struct AllTexts {
  std::vector<std::string> texts;
  std::vector<uint64_t> indices;  // see Texts::index
  std::vector<io::Tree> kept;     // see Texts::kept
  uint64_t skipped = 0;
};
// Warns of texts that were passed over.
AllTexts all_texts(const TextOption& option);

}  // namespace m2bert::cli
