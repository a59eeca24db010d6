#include "m2bert/data/source.h"

#include <algorithm>
#include <cctype>
#include <string_view>
#include <vector>

#include "m2bert/data/delimited.h"
#include "m2bert/data/line_reader.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"

namespace m2bert::data {
namespace {

class LineSource : public Source {
 public:
  LineSource(const std::filesystem::path& path, const SourceOptions& options) : lines_(path, options.max_record_bytes) {}

  Position position() const override { return {record_, lines_.offset(), lines_.line()}; }
  void skip_to(const Position& position) override {
    lines_.skip_to(position.offset, position.line);
    record_ = position.record;
  }
  std::optional<double> fraction() const override { return lines_.fraction(); }
  const std::string& name() const override { return lines_.name(); }

 protected:
  LineReader lines_;
  uint64_t record_ = 0;
};

class TextSource : public LineSource {
 public:
  using LineSource::LineSource;
  bool next(std::string& text) override {
    if (!lines_.next(text)) return false;
    if (!text.empty() && text.back() == '\r') text.pop_back();
    ++record_;
    return true;
  }
};

class JsonLinesSource : public LineSource {
 public:
  JsonLinesSource(const std::filesystem::path& path, const SourceOptions& options)
      : LineSource(path, options), field_(options.field.empty() ? "text" : options.field) {}
  bool next(std::string& text) override {
    do {
      if (!lines_.next(line_)) return false;
    } while (line_.find_first_not_of(" \t\r") == std::string::npos);
    text = io::json_string_at(line_, field_, lines_.where());
    ++record_;
    return true;
  }

 private:
  std::string field_, line_;
};

class DelimitedSource : public LineSource {
 public:
  DelimitedSource(const std::filesystem::path& path, const SourceOptions& options, char separator)
      : LineSource(path, options), reader_(lines_, separator) {
    if (options.header) {
      require(reader_.next(fields_), name(), ": is empty, wants a line with the names of the columns");
      columns_ = fields_.size();
      column_ = by_name(options.field);
    } else {
      const auto number = as_number(options.field);
      require(number || options.field.empty(), name(), ": without a header a column is named by its number from 1, got \"", options.field,
              "\"");
      column_ = number.value_or(1) - 1;
      only_ = options.field.empty();
    }
  }

  bool next(std::string& text) override {
    if (!reader_.next(fields_)) return false;
    if (columns_ == 0) {
      columns_ = fields_.size();
      require(column_ < columns_, lines_.where(), ": has ", columns_, " columns, there is no column ", column_ + 1);
      require(!only_ || columns_ == 1, lines_.where(), ": has ", columns_, " columns; say which one by its number from 1");
    }
    require(fields_.size() == columns_, lines_.where(), ": has ", fields_.size(), " columns, the first line has ", columns_);
    text = std::move(fields_[column_]);
    ++record_;
    return true;
  }

 private:
  static std::optional<size_t> as_number(const std::string& text) {
    const bool digits =
        !text.empty() && text.size() <= 6 && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    return digits && std::stoul(text) > 0 ? std::optional<size_t>(std::stoul(text)) : std::nullopt;
  }
  std::string listed() const {
    std::string out;
    for (size_t i = 0; i < std::min<size_t>(fields_.size(), 20); ++i) out += (i ? ", " : "") + fields_[i].substr(0, 60);
    return fields_.size() > 20 ? out + ", ..." : out;
  }
  // The column by name or else by number; without a field the column "text", or the only one.
  size_t by_name(const std::string& field) const {
    const std::string wanted = field.empty() ? "text" : field;
    const auto found = std::find(fields_.begin(), fields_.end(), wanted);
    if (found != fields_.end()) {
      require(std::find(found + 1, fields_.end(), wanted) == fields_.end(), name(), ": has two columns ", wanted);
      return static_cast<size_t>(found - fields_.begin());
    }
    if (field.empty() && fields_.size() == 1) return 0;
    const auto number = as_number(field);
    if (!number) fail(name(), ": has no column \"", wanted, "\"; it has ", listed(), "; say which one by name or by its number from 1");
    require(*number <= fields_.size(), name(), ": has ", fields_.size(), " columns, there is no column ", field);
    return *number - 1;
  }

  DelimitedReader reader_;
  std::vector<std::string> fields_;
  size_t columns_ = 0, column_ = 0;
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
  require(!ends_with(name, ".json"), path.string(), ": is it JSON lines or text? Say which format; a JSON array is not read");
  return Format::text;
}

}  // namespace

Format format_of(const std::filesystem::path& path, Format given) { return given == Format::automatic ? by_name(path) : given; }

std::unique_ptr<Source> open_source(const std::filesystem::path& path, const SourceOptions& options) {
  switch (format_of(path, options.format)) {
    case Format::jsonl: return std::make_unique<JsonLinesSource>(path, options);
    case Format::csv: return std::make_unique<DelimitedSource>(path, options, ',');
    case Format::tsv: return std::make_unique<DelimitedSource>(path, options, '\t');
    default: return std::make_unique<TextSource>(path, options);
  }
}

Format parse_format(const std::string& name) {
  if (name == "auto") return Format::automatic;
  if (name == "text") return Format::text;
  if (name == "jsonl") return Format::jsonl;
  if (name == "csv") return Format::csv;
  if (name == "tsv") return Format::tsv;
  fail("unknown format \"", name, "\"; there are auto, text, jsonl, csv and tsv");
}

}  // namespace m2bert::data
