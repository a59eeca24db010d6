#pragma once
// Texts from files and pipes, one record at a time in constant memory.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace m2bert::data {

enum class Format {
  automatic /* by the name: .jsonl .ndjson .csv .tsv, otherwise text; .gz and .zst before that */,
  text,
  jsonl,
  csv,
  tsv
};

struct SourceOptions {
  Format format = Format::automatic;
  // JSONL: field name, "a.b" for a nested one. CSV and TSV: column name or number from 1. Empty: "text", or the only column.
  std::string field;
  bool header = true;                          // CSV and TSV: the first record names the columns
  size_t max_record_bytes = size_t{64} << 20;  // a longer line or record is an error
};

// Where a reader stands between two records. A new source of the same input goes on from there with skip_to().
struct Position {
  uint64_t record = 0;  // records read
  uint64_t offset = 0;  // bytes of the (uncompressed) input before the next record
  uint64_t line = 0;    // lines before it
};

// A record is a line of text (without its \n or \r\n; empty lines count), a JSON line or a CSV record (blank lines are skipped).
// Invalid UTF-8 and NUL bytes are passed on in text and CSV. Errors: "file:line: what".
class Source {
 public:
  virtual ~Source() = default;
  // The next text; false at the end.
  virtual bool next(std::string& text) = 0;
  // Behind the record last read.
  virtual Position position() const = 0;
  // Goes to a position of an earlier reading: seeks where it can, otherwise reads up to it. Only forward.
  virtual void skip_to(const Position& position) = 0;
  // Share of the input read, 0 to 1; nothing for pipes.
  virtual std::optional<double> fraction() const = 0;
  virtual const std::string& name() const = 0;
};

// The format of the options, or by the name: never automatic. Error: the name does not tell (.json).
Format format_of(const std::filesystem::path& path, Format given);
// path "-": standard input (text unless a format is given). Compressed input (.gz, .zst) is told by its content.
std::unique_ptr<Source> open_source(const std::filesystem::path& path, const SourceOptions& options = {});
// "text", "jsonl", "csv", "tsv" or "auto". Error on others.
Format parse_format(const std::string& name);

}  // namespace m2bert::data
