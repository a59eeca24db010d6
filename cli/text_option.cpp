#include "cli/text_option.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "cli/choice.h"
#include "cli/command.h"
#include "m2bert/data/source.h"
#include "m2bert/error.h"
#include "m2bert/io/hash.h"

namespace m2bert::cli {
namespace {

class GivenTexts : public Texts {
 public:
  explicit GivenTexts(std::vector<std::string> texts) : texts_(std::move(texts)) {}
  bool next(std::string& text) override {
    if (next_ == texts_.size()) return false;
    text = texts_[next_++];
    return true;
  }

 private:
  std::vector<std::string> texts_;
  size_t next_ = 0;
};

class FileTexts : public Texts {
 public:
  explicit FileTexts(std::unique_ptr<data::Source> source) : source_(std::move(source)) {}
  bool next(std::string& text) override { return source_->next(text); }

 private:
  std::unique_ptr<data::Source> source_;
};

std::string file_of(const TextOption& option) { return option.file.empty() ? "-" : option.file; }

}  // namespace

void add_text_options(CLI::App& app, TextOption& option) {
  app.add_option("input", option.file, "File with the texts, or - for stdin (.gz and .zst are unpacked)")->type_name("FILE");
  app.add_option("--text", option.texts, "A text; may be given several times")
      ->type_name("TEXT")
      ->expected(1)
      ->allow_extra_args(false)
      ->take_all();
  add_choice(app, "--format", option.format, {"text", "jsonl", "csv", "tsv"},
             "What the file is: a text a line, JSON lines, or a table (default: by its name)");
  app.add_option("--field", option.field, "Key (JSON lines; a.b for a nested one) or column (tables) that holds the text (default: text)")
      ->type_name("NAME");
}

void check_texts(const TextOption& option) {
  if (!option.texts.empty() && !option.file.empty()) throw UsageError("give --text or an input file, not both");
  if (option.texts.empty() && option.file.empty() && ::isatty(STDIN_FILENO) != 0)
    throw UsageError("no texts: give --text TEXT, a file, or pipe texts in");
  require(option.file.empty() || option.file == "-" || std::filesystem::exists(option.file), option.file, ": no such file");
}

std::unique_ptr<Texts> open_texts(const TextOption& option) {
  check_texts(option);
  if (!option.texts.empty()) return std::make_unique<GivenTexts>(option.texts);
  data::SourceOptions how;
  if (!option.format.empty()) how.format = data::parse_format(option.format);
  how.field = option.field;
  return std::make_unique<FileTexts>(data::open_source(file_of(option), how));
}

bool can_reread(const TextOption& option) {
  return !option.texts.empty() || (file_of(option) != "-" && std::filesystem::is_regular_file(option.file));
}

TextSummary summarize(Texts& texts) {
  io::Hasher hasher;
  TextSummary summary;
  for (std::string text; texts.next(text); ++summary.texts) add_text(hasher, text);
  summary.hash = hasher.hash128();
  return summary;
}

void add_text(io::Hasher& hasher, const std::string& text) {
  hasher.update(std::to_string(text.size()) + ":");
  hasher.update(text);
}

std::vector<std::string> all_texts(const TextOption& option) {
  const auto source = open_texts(option);
  std::vector<std::string> texts;
  for (std::string text; source->next(text);) texts.push_back(text);
  return texts;
}

}  // namespace m2bert::cli
