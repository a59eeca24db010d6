#include "cli/text_option.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>

#include "cli/choice.h"
#include "cli/command.h"
#include "m2bert/data/bad_record.h"
#include "m2bert/data/documents.h"
#include "m2bert/error.h"
#include "m2bert/io/hash.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/utf8.h"

namespace m2bert::cli {
namespace {

class GivenTexts : public Texts {
 public:
  GivenTexts(std::vector<std::string> texts, std::vector<std::string> pairs) : texts_(std::move(texts)), pairs_(std::move(pairs)) {}
  bool next(std::string& text) override {
    if (next_ == texts_.size()) return false;
    text = texts_[next_++];
    return true;
  }
  uint64_t index() const override { return next_ - 1; }
  std::string second() const override { return pairs_.empty() ? "" : pairs_[next_ - 1]; }

 private:
  std::vector<std::string> texts_, pairs_;
  size_t next_ = 0;
};

class FileTexts : public Texts {
 public:
  FileTexts(std::unique_ptr<data::Source> source, std::vector<KeptField> keep, const TextOption& option)
      : source_(std::move(source)), keep_(std::move(keep)), option_(option) {}
  bool next(std::string& text) override {
    try {
      while (source_->next(text))
        if (read_second()) return true;
      return false;
    } catch (const data::BadRecord& e) {
      fail(e.what(), skip_bad_remedy);
    }
  }
  uint64_t index() const override { return source_->position().record - 1; }
  io::Tree kept() const override {
    io::Tree kept = io::Tree::map();
    for (const KeptField& field : keep_) kept.set(field.name, source_->kept().at(field.field));
    return kept;
  }
  std::string second() const override { return second_; }
  io::Tree spans() const override { return option_.spans_field.empty() ? io::Tree() : source_->kept().at(option_.spans_field); }
  uint64_t skipped() const override { return source_->skipped() + without_second_; }
  std::string first_skipped() const override { return source_->skipped() > 0 ? source_->first_skipped() : first_without_second_; }

 private:
  // Reads the second text of a pair. False: it is no text, and --skip-bad passes over the pair.
  bool read_second() {
    if (option_.pair_field.empty()) return true;
    const io::Tree& value = source_->kept().at(option_.pair_field);
    if (value.is_string()) {
      second_ = value.string();
      return true;
    }
    const std::string problem = source_->name() + ":" + std::to_string(source_->position().line) + ": its " + option_.pair_field + " is " +
                                value.shown() + ", wants a text";
    require(option_.skip_bad, problem, skip_bad_remedy);
    if (without_second_++ == 0) first_without_second_ = problem;
    return false;
  }

  std::unique_ptr<data::Source> source_;
  std::vector<KeptField> keep_;
  TextOption option_;
  std::string second_, first_without_second_;
  uint64_t without_second_ = 0;
};

std::vector<KeptField> kept_fields(const TextOption& option) {
  std::vector<KeptField> fields;
  for (const std::string& keep : option.keep) {
    const size_t equals = keep.rfind('=');
    if (equals == std::string::npos) fields.push_back({keep, keep});
    else fields.push_back({keep.substr(0, equals), keep.substr(equals + 1)});
    if (fields.back().field.empty() || fields.back().name.empty()) throw UsageError("--keep " + keep + ": wants FIELD or FIELD=NAME");
  }
  return fields;
}

std::string file_of(const TextOption& option) { return option.file.empty() ? "-" : option.file; }

void check_file(const TextOption& option) {
  require(file_of(option) == "-" || std::filesystem::exists(option.file), option.file, ": no such file");
  check_read_options(option, {file_of(option)});
}

}  // namespace

void add_read_options(CLI::App& app, ReadOption& option, const std::string& input, const std::string& what) {
  add_choice(app, "--format", option.format, {"text", "jsonl", "csv", "tsv", "parquet"},
             "What the " + input + " is: a text a line, JSON lines, a table, or Parquet (default: by its name)");
  app.add_option("--field", option.field,
                 "Key (JSON lines; a.b for a nested one) or column (tables, Parquet) that holds the " + what + " (default: text)")
      ->type_name("NAME");
  app.add_option("--delimiter", option.delimiter,
                 "What divides the columns of a table, one character or \\t (default: a comma; a tab in .tsv)")
      ->check([](const std::string& text) { return text.empty() ? "wants one character, or \\t for a tab" : ""; })
      ->type_name("C");
  app.add_flag("--skip-bad", option.skip_bad, "Pass over lines and rows that cannot be used, and count them (default: an error)");
}

data::SourceOptions source_options(const ReadOption& option) {
  data::SourceOptions how;
  if (!option.format.empty()) how.format = data::parse_format(option.format);
  how.field = option.field;
  if (!option.delimiter.empty()) how.delimiter = data::parse_delimiter(option.delimiter);
  how.skip_bad = option.skip_bad;
  return how;
}

void check_read_options(const ReadOption& option, const std::vector<std::filesystem::path>& inputs) {
  using data::Format;
  if (option.field.empty() && option.delimiter.empty()) return;
  const data::SourceOptions how = source_options(option);
  const auto any = [&](auto fits) {
    return std::any_of(inputs.begin(), inputs.end(), [&](const auto& input) { return fits(data::format_of(input, how.format)); });
  };
  if (!option.field.empty() && !any([](Format format) { return format != Format::text; }))
    throw UsageError("--field is for JSON lines and tables (--format jsonl, csv or tsv), and the input is text");
  if (!option.delimiter.empty() && !any([](Format format) { return format == Format::csv || format == Format::tsv; }))
    throw UsageError("--delimiter is for tables (--format csv), and the input is not one");
}

void add_text_options(CLI::App& app, TextOption& option) {
  app.add_option("input", option.file, "File with the texts, or - for stdin (.gz and .zst are unpacked)")->type_name("FILE");
  app.add_option("--text", option.texts, "A text; may be given several times")
      ->type_name("TEXT")
      ->expected(1)
      ->allow_extra_args(false)
      ->take_all();
  add_read_options(app, option, "file", "text");
}

void add_keep_option(CLI::App& app, TextOption& option, const std::string& input) {
  app.add_option(
         "--keep", option.keep,
         "Field or column of the " + input + " that is carried into the JSON output; FIELD=NAME renames it; may be given several times")
      ->type_name("FIELD")
      ->delimiter(',')
      ->expected(1)
      ->allow_extra_args(false)
      ->take_all();
}

void check_keep(const TextOption& option, bool json, const std::vector<std::string>& own_names) {
  if (option.keep.empty()) return;
  if (!json)
    throw UsageError("--keep carries fields into JSON, and this output is not JSON: give --json, or an output that ends in .jsonl");
  std::vector<std::string> names = own_names;
  for (const KeptField& field : kept_fields(option)) {
    if (std::find(names.begin(), names.end(), field.name) != names.end())
      throw UsageError("--keep " + field.name + ": the output has a field of that name already; rename it, as in --keep " + field.field +
                       "=my_" + field.name);
    names.push_back(field.name);
  }
}

void refuse_read_options(const TextOption& option, const std::string& why) {
  for (const auto& [name, given] : {std::pair("--format", !option.format.empty()),
                                    {"--field", !option.field.empty()},
                                    {"--delimiter", !option.delimiter.empty()},
                                    {"--keep", !option.keep.empty()},
                                    {"--skip-bad", option.skip_bad}})
    if (given) throw UsageError(std::string(name) + " " + why);
}

void check_option_text(const std::string& option, const std::string& value) {
  if (const auto at = io::find_invalid_utf8(value))
    throw UsageError(option + " is not UTF-8 from byte " + std::to_string(*at) + " on: " + io::printable(value, 60));
}

void check_texts(const TextOption& option) {
  if (!option.texts.empty() && !option.file.empty()) throw UsageError("give --text or an input file, not both");
  if (option.texts.empty() && option.file.empty() && ::isatty(STDIN_FILENO) != 0)
    throw UsageError("no texts: give --text TEXT, a file, or pipe texts in");
  for (const std::string& text : option.texts) check_option_text("--text", text);
  if (option.texts.empty()) return check_file(option);
  refuse_read_options(option, "is for files: it does not go with --text");
}

std::unique_ptr<Texts> open_texts(const TextOption& option) {
  check_texts(option);
  if (!option.texts.empty()) return std::make_unique<GivenTexts>(option.texts, option.pairs);
  data::SourceOptions how = source_options(option);
  const std::vector<KeptField> keep = kept_fields(option);
  for (const KeptField& field : keep) how.keep.push_back(field.field);
  for (const std::string& own : {option.pair_field, option.spans_field})
    if (!own.empty()) how.keep.push_back(own);
  return std::make_unique<FileTexts>(data::open_source(file_of(option), how), keep, option);
}

bool can_reread(const TextOption& option) { return !option.texts.empty() || data::can_reread(file_of(option)); }

void report_skipped(uint64_t skipped, const std::string& first) {
  if (skipped == 0) return;
  io::warn(skipped, skipped == 1 ? " text was passed over (--skip-bad): " : " texts were passed over (--skip-bad); the first: ", first);
}

TextSummary summarize(Texts& texts) {
  io::Hasher hasher;
  TextSummary summary;
  for (std::string text; texts.next(text); ++summary.texts) add_text(hasher, text, texts);
  summary.hash = hasher.hash128();
  summary.skipped = texts.skipped();
  summary.first_skipped = texts.first_skipped();
  return summary;
}

void add_text(io::Hasher& hasher, const std::string& text, const Texts& texts) {
  hasher.update(std::to_string(texts.index()) + ":" + std::to_string(text.size()) + ":");
  hasher.update(text);
  if (const std::string second = texts.second(); !second.empty()) hasher.update("second:" + std::to_string(second.size()) + ":" + second);
  if (const io::Tree kept = texts.kept(); kept.size() > 0) hasher.update(io::to_json(kept));
  if (const io::Tree spans = texts.spans(); !spans.is_null()) hasher.update(io::to_json(spans));
}

AllTexts all_texts(const TextOption& option) {
  const auto source = open_texts(option);
  AllTexts all;
  for (std::string text; source->next(text);) {
    all.texts.push_back(text);
    all.indices.push_back(source->index());
    all.kept.push_back(source->kept());
  }
  all.skipped = source->skipped();
  report_skipped(all.skipped, source->first_skipped());
  return all;
}

}  // namespace m2bert::cli
