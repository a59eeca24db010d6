#include "m2bert/data/source.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <string_view>
#include <vector>

#include "m2bert/data/bad_record.h"
#include "m2bert/data/delimited.h"
#include "m2bert/data/line_reader.h"
#include "m2bert/data/parquet_source.h"
#include "m2bert/data/text_head.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {
namespace {

class LineSource : public Source {
 public:
  LineSource(const std::filesystem::path& path, const SourceOptions& options)
      : lines_(path, options.max_record_bytes), keep_(options.keep), records_(options.records), skip_bad_(options.skip_bad) {}

  bool next(std::string& text) final {
    for (;;) {
      try {
        const bool there = read(text);
        record_ += there;
        return there;
      } catch (const BadRecord& e) {
        ++record_;
        if (!skip_bad_) throw;
        if (skipped_++ == 0) first_skipped_ = e.what();
      }
    }
  }
  const io::Tree& kept() const override { return kept_; }
  uint64_t skipped() const override { return skipped_; }
  const std::string& first_skipped() const override { return first_skipped_; }
  std::string where() const override { return lines_.where(); }
  Position position() const override { return {record_, lines_.offset(), lines_.line()}; }
  void skip_to(const Position& position) override {
    lines_.skip_to(position.offset, position.line);
    record_ = position.record;
  }
  std::optional<double> fraction() const override { return lines_.fraction(); }
  const std::string& name() const override { return lines_.name(); }

 protected:
  // Reads a record. Returns false at the end. BadRecord if it cannot be used.
  virtual bool read(std::string& text) = 0;
  uint64_t read_so_far() const { return record_; }

  LineReader lines_;
  std::vector<std::string> keep_;
  bool records_;
  io::Tree kept_ = io::Tree::map();

 private:
  bool skip_bad_;
  uint64_t record_ = 0, skipped_ = 0;
  std::string first_skipped_;
};

class TextSource : public LineSource {
 public:
  using LineSource::LineSource;

 private:
  bool read(std::string& text) override {
    if (!lines_.next(text)) return false;
    check_text(text, lines_.where());
    return true;
  }
};

// A number that has lost digits on the way would be another id.
void require_exact(const io::Tree& value, const std::string& what) {
  constexpr double exact = 9223372036854775808.0;  // 2^63
  require(value.kind() != io::Tree::Kind::number || std::abs(value.number()) < exact, what,
          " is a number that cannot be carried exactly; write it as a string");
  if (value.is_list())
    for (const io::Tree& item : value.items()) require_exact(item, what);
  if (value.is_map())
    for (const io::Tree::Member& member : value.members()) require_exact(member.value, what);
}

class JsonLinesSource : public LineSource {
 public:
  JsonLinesSource(const std::filesystem::path& path, const SourceOptions& options)
      : LineSource(path, options), field_(options.field.empty() ? "text" : options.field) {}

 private:
  bool read(std::string& text) override {
    size_t begin = std::string::npos;
    while (begin == std::string::npos) {
      if (!lines_.next(line_)) return false;
      begin = line_.find_first_not_of(" \t");
    }
    require(line_[begin] != '[' || read_so_far() > 0, lines_.where(),
            ": a JSON array is not read; write one object a line (such as jq -c '.[]')");
    if (line_[begin] != '{') bad_record(lines_.where(), ": wants a JSON object, got ", io::printable(line_.substr(begin), 40));
    try {
      read_object(text);
    } catch (const Error& e) {
      throw BadRecord(e.what());
    }
    return true;
  }

  void read_object(std::string& text) {
    if (records_) {
      text.clear();
      kept_ = io::parse_json(line_, lines_.where());
      return;
    }
    text = io::json_string_at(line_, field_, lines_.where());
    if (!keep_.empty()) keep_fields();
  }

  void keep_fields() {
    const io::Tree record = io::parse_json(line_, lines_.where());
    kept_ = io::Tree::map();
    for (const std::string& field : keep_) {
      const io::Tree* value = io::find_json(record, field);
      require(value != nullptr, lines_.where(), ": has no field \"", field, "\" to keep");
      require_exact(*value, lines_.where() + ": the field \"" + field + "\"");
      kept_.set(field, *value);
    }
  }

  std::string field_, line_;
};

struct Dialect {
  std::string delimiter;
  Quoting quoting;
};

class DelimitedSource : public LineSource {
 public:
  DelimitedSource(const std::filesystem::path& path, const SourceOptions& options, const Dialect& dialect)
      : LineSource(path, options), reader_(lines_, dialect.delimiter, dialect.quoting) {
    if (options.header) {
      read_header();
      if (options.delimiter.empty()) require_delimiter(dialect.delimiter);
      columns_ = fields_.size();
      if (records_) name_columns(fields_);
      else choose_columns(options.field);
    } else if (!records_) {
      column_ = as_number(options.field.empty() ? "1" : options.field) - 1;
      for (const std::string& field : keep_) kept_columns_.push_back(as_number(field) - 1);
      only_ = options.field.empty();
    }
  }

  std::string where() const override { return reader_.where(); }

 private:
  bool read(std::string& text) override {
    if (!reader_.next(fields_)) return false;
    if (columns_ == 0) see_first_row();
    if (fields_.size() != columns_)
      bad_record(reader_.where(), ": has ", counted(fields_.size()), ", the first line has ", columns_,
                 "; a field that has the delimiter in it must be quoted");
    for (const std::string& field : fields_) check_text(field, reader_.where());
    kept_ = io::Tree::map();
    for (size_t i = 0; i < keep_.size(); ++i) kept_.set(keep_[i], fields_[kept_columns_[i]]);
    text = records_ ? std::string() : std::move(fields_[column_]);
    return true;
  }

  void choose_columns(const std::string& field) {
    column_ = by_name(field);
    for (const std::string& kept : keep_) kept_columns_.push_back(by_name(kept));
  }

  // Keeps all columns under these names.
  void name_columns(const std::vector<std::string>& names) {
    for (size_t i = 0; i < names.size(); ++i) {
      require(std::find(keep_.begin(), keep_.end(), names[i]) == keep_.end(), reader_.where(), ": has two columns ", names[i],
              "; give each a name of its own");
      keep_.push_back(names[i]);
      kept_columns_.push_back(i);
    }
  }

  void read_header() {
    try {
      require(reader_.next(fields_), name(), ": is empty, wants a line with the names of the columns");
      for (const std::string& field : fields_) check_text(field, reader_.where());
    } catch (const BadRecord& e) {  // without a header no record can be read
      fail(e.what());
    }
  }

  // A file with another delimiter would be read as one column.
  void require_delimiter(const std::string& own) const {
    if (fields_.size() > 1 || reader_.first_is_quoted()) return;
    for (const std::string other : {";", "\t", "|", ","}) {
      if (other == own || fields_[0].find(other) == std::string::npos) continue;
      const auto shown = [](const std::string& delimiter) { return delimiter == "\t" ? std::string("'\\t'") : "'" + delimiter + "'"; };
      fail(reader_.where(), ": the header is one column, \"", io::printable(fields_[0], 60), "\", and has ", shown(other),
           " in it; give --delimiter ", shown(other), " if that divides the columns, or --delimiter ", shown(own), " if it is one column");
    }
  }

  void see_first_row() {
    columns_ = fields_.size();
    if (records_) {
      std::vector<std::string> numbers;
      for (size_t i = 1; i <= columns_; ++i) numbers.push_back(std::to_string(i));
      return name_columns(numbers);
    }
    for (const size_t column : kept_columns_) require_column(column);
    require_column(column_);
    require(!only_ || columns_ == 1, lines_.where(), ": has ", columns_, " columns; say which one by its number from 1");
  }
  void require_column(size_t column) const {
    require(column < columns_, lines_.where(), ": has ", counted(columns_), ", there is no column ", column + 1);
  }

  static std::string counted(size_t columns) { return std::to_string(columns) + (columns == 1 ? " column" : " columns"); }
  static std::optional<size_t> number_of(const std::string& text) {
    const bool digits =
        !text.empty() && text.size() <= 6 && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    return digits && std::stoul(text) > 0 ? std::optional<size_t>(std::stoul(text)) : std::nullopt;
  }
  size_t as_number(const std::string& field) const {
    const auto number = number_of(field);
    require(number.has_value(), name(), ": without a header a column is named by its number from 1, got \"", field, "\"");
    return *number;
  }
  std::string listed() const {
    std::string out;
    for (size_t i = 0; i < std::min<size_t>(fields_.size(), 20); ++i) out += (i ? ", " : "") + io::printable(fields_[i], 60);
    return fields_.size() > 20 ? out + ", ..." : out;
  }
  // The column by name or else by number; without a field the column "text", or the only one.
  size_t by_name(const std::string& field) const {
    const std::string wanted = field.empty() ? "text" : field;
    const auto found = std::find(fields_.begin(), fields_.end(), wanted);
    if (found != fields_.end()) {
      require(std::find(found + 1, fields_.end(), wanted) == fields_.end(), reader_.where(), ": has two columns ", wanted,
              "; name one by its number from 1");
      return static_cast<size_t>(found - fields_.begin());
    }
    if (field.empty() && fields_.size() == 1) return 0;
    const auto number = number_of(field);
    if (!number) fail(name(), ": has no column \"", wanted, "\"; it has ", listed(), "; say which one by name or by its number from 1");
    require(*number <= fields_.size(), name(), ": has ", counted(fields_.size()), ", there is no column ", field);
    return *number - 1;
  }

  DelimitedReader reader_;
  std::vector<std::string> fields_;
  size_t columns_ = 0, column_ = 0;
  std::vector<size_t> kept_columns_;
  bool only_ = false;
};

bool ends_with(const std::string& name, std::string_view end) {
  return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

Format by_name(const std::filesystem::path& path) {
  std::string name = path.filename().string();
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (std::string_view end : {".gz", ".zst"}) {
    if (ends_with(name, end)) name.resize(name.size() - end.size());
  }
  if (ends_with(name, ".jsonl") || ends_with(name, ".ndjson")) return Format::jsonl;
  if (ends_with(name, ".csv")) return Format::csv;
  if (ends_with(name, ".tsv")) return Format::tsv;
  if (ends_with(name, ".parquet")) return Format::parquet;
  require(!ends_with(name, ".json"), path.string(), ": is it JSON lines or text? Say which format; a JSON array is not read");
  return Format::text;
}

void check_options(const std::filesystem::path& path, Format format, const SourceOptions& options) {
  const std::string name = path == "-" ? "standard input" : path.string();
  const bool table = format == Format::csv || format == Format::tsv;
  const char* kind = format == Format::jsonl ? "JSON lines" : format == Format::parquet ? "a Parquet file" : "text";
  require(table || options.delimiter.empty(), name, ": is read as ", kind,
          ", and a delimiter is for tables; say which format it has (csv)");
  require(format != Format::text || (options.field.empty() && options.keep.empty() && !options.records), name,
          ": is read as text, and fields are for JSON lines and tables; say which format it has (jsonl, csv or tsv)");
}

Dialect dialect_of(Format format, const SourceOptions& options) {
  if (!options.quotes) return {!options.delimiter.empty() ? options.delimiter : format == Format::tsv ? "\t" : ",", Quoting::never};
  if (!options.delimiter.empty()) return {options.delimiter, Quoting::always};
  return format == Format::tsv ? Dialect{"\t", Quoting::if_closed} : Dialect{",", Quoting::always};
}

}  // namespace

Format format_of(const std::filesystem::path& path, Format given) { return given == Format::automatic ? by_name(path) : given; }

std::unique_ptr<Source> open_source(const std::filesystem::path& path, const SourceOptions& options) {
  const Format format = format_of(path, options.format);
  check_options(path, format, options);
  switch (format) {
    case Format::jsonl: return std::make_unique<JsonLinesSource>(path, options);
    case Format::csv:
    case Format::tsv: return std::make_unique<DelimitedSource>(path, options, dialect_of(format, options));
    case Format::parquet: return open_parquet_source(path, options);
    default: return std::make_unique<TextSource>(path, options);
  }
}

Format parse_format(const std::string& name) {
  if (name == "auto") return Format::automatic;
  if (name == "text") return Format::text;
  if (name == "jsonl") return Format::jsonl;
  if (name == "csv") return Format::csv;
  if (name == "tsv") return Format::tsv;
  if (name == "parquet") return Format::parquet;
  fail("unknown format \"", name, "\"; there are auto, text, jsonl, csv, tsv and parquet");
}

std::string parse_delimiter(const std::string& text) {
  if (text == "\\t") return "\t";
  const bool one = !text.empty() && io::utf8_sequence(text) == text.size();
  require(one && text != "\"" && text != "\n" && text != "\r" && text[0] != '\0', "delimiter \"", io::printable(text, 40),
          "\": wants one character that is no quote and no line end, or \\t for a tab");
  return text;
}

}  // namespace m2bert::data
