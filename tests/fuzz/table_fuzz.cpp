// Rows of a table: reading ends at the end of the input, with bad rows and without; rows that are written again, quoted, are the same.
#include <cstdlib>
#include <string>
#include <string_view>

#include "m2bert/data/bad_record.h"
#include "m2bert/data/delimited.h"
#include "m2bert/data/text_head.h"
#include "m2bert/error.h"

namespace {

using namespace m2bert;

// Gives the bytes in small pieces.
class Pieces : public io::ByteStream {
 public:
  explicit Pieces(std::string_view bytes) : bytes_(bytes) {}
  size_t read(std::span<char> out) override {
    const size_t n = bytes_.copy(out.data(), std::min<size_t>(out.size(), 7));
    bytes_.remove_prefix(n);
    return n;
  }
  bool seek(uint64_t) override { return false; }
  std::optional<double> fraction() const override { return std::nullopt; }

 private:
  std::string_view bytes_;
};

using Rows = std::vector<std::vector<std::string>>;

Rows rows_of(std::string_view bytes, const std::string& delimiter, data::Quoting quoting) {
  data::LineReader lines(std::make_unique<Pieces>(bytes), "fuzz", 1000);
  data::DelimitedReader reader(lines, delimiter, quoting);
  Rows rows;
  std::vector<std::string> fields;
  for (uint64_t line = 0;;) {
    try {
      if (!reader.next(fields)) break;
      rows.push_back(fields);
    } catch (const data::BadRecord&) {
    }
    if (lines.line() <= line) std::abort();  // it went on
    line = lines.line();
  }
  if (lines.offset() != bytes.size()) std::abort();
  return rows;
}

std::string quoted(const Rows& rows, const std::string& delimiter) {
  std::string out;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      out += i > 0 ? delimiter + "\"" : "\"";
      for (const char c : row[i]) out += c == '"' ? "\"\"" : std::string(1, c);
      out += '"';
    }
    out += "\r\n";
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  try {
    for (const std::string delimiter : {",", "\t", "\xC2\xA6"}) {
      rows_of(text, delimiter, data::Quoting::if_closed);
      const Rows rows = rows_of(text, delimiter, data::Quoting::always);
      const std::string again = quoted(rows, delimiter);
      if (again.size() < 1000 && rows_of(again, delimiter, data::Quoting::always) != rows) std::abort();
    }
  } catch (const Error&) {  // no text
  }
  return 0;
}
