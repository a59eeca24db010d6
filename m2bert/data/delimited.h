#pragma once
// Records of CSV (RFC 4180) and TSV files.
#include <string>
#include <vector>

#include "m2bert/data/line_reader.h"

namespace m2bert::data {

// CSV: a field in quotes may hold commas, line ends and doubled quotes; a quote inside a field without quotes is itself.
// TSV: a field is in quotes only if its closing quote stands on the same line in front of a tab or the end: texts that merely
// begin with a quotation mark are taken as they are.
class DelimitedReader {
 public:
  DelimitedReader(LineReader& lines, char separator) : lines_(lines), separator_(separator) {}

  // The next record; blank lines are skipped. false at the end. Errors: "file:line: what".
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
