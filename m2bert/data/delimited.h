#pragma once
// Records of CSV (RFC 4180) and TSV files.
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/data/line_reader.h"

namespace m2bert::data {

// When a field that begins with a quote is quoted.
enum class Quoting {
  always,     // CSV: always. A quoted field may contain delimiters, line breaks and doubled quotes
  if_closed,  // TSV: only if its closing quote is on the same line, before a delimiter or the end. So a text that merely begins with a
              // quotation mark is kept as it is
  never,      // a quote is a character like any other
};

// A quote inside an unquoted field is literal.
class DelimitedReader {
 public:
  // delimiter: one character, in UTF-8.
  DelimitedReader(LineReader& lines, std::string delimiter, Quoting quoting)
      : lines_(lines), delimiter_(std::move(delimiter)), quoting_(quoting) {}

  // Reads the next record, skipping blank lines. Returns false at the end. BadRecord ("file:line: what") for a quote that is not closed
  // (the next call goes on with the line after it) and for text behind a closing quote.
  bool next(std::vector<std::string>& fields);
  // "file:line" of the first line of the last record.
  std::string where() const { return lines_.name() + ":" + std::to_string(first_line_); }
  // Whether the first field of the last record was quoted.
  bool first_is_quoted() const { return first_is_quoted_; }

 private:
  void split(std::vector<std::string>& fields);
  void quoted(std::string& field, size_t& at);
  bool extend();
  [[noreturn]] void refuse_open_quote();
  bool delimiter_at(size_t at) const { return std::string_view(record_).substr(at).starts_with(delimiter_); }
  bool opens_field(size_t at) const;
  size_t closing_quote(size_t at) const;
  LineReader& lines_;
  std::string delimiter_;
  Quoting quoting_;
  std::string record_;
  size_t first_bytes_ = 0;  // of the record's first line, with its end
  uint64_t first_line_ = 0;
  bool first_is_quoted_ = false;
};

}  // namespace m2bert::data
