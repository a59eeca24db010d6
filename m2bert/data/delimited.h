#pragma once
// Records of CSV (RFC 4180) and TSV files.
#include <string>
#include <vector>

#include "m2bert/data/line_reader.h"

namespace m2bert::data {

// CSV: a quoted field may contain commas, line breaks and doubled quotes; a quote inside an unquoted field is literal.
// TSV: a field counts as quoted only if its closing quote is on the same line, before a tab or the end. So a text that merely begins with
// a quotation mark is kept as it is.
class DelimitedReader {
 public:
  DelimitedReader(LineReader& lines, char separator) : lines_(lines), separator_(separator) {}

  // Reads the next record, skipping blank lines. Returns false at the end. Errors: "file:line: what".
  bool next(std::vector<std::string>& fields);

 private:
  void split(std::vector<std::string>& fields);
  void quoted(std::string& field, size_t& at, uint64_t first_line);
  size_t closing_quote(size_t at) const;
  LineReader& lines_;
  char separator_;
  std::string record_;
};

}  // namespace m2bert::data
