#pragma once
// Reads texts from files and pipes, record by record in constant memory.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace m2bert::data {

enum class Format {
  automatic /* by extension: .jsonl .ndjson .csv .tsv, otherwise text; a final .gz or .zst is ignored */,
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

// A position between two records, from which a new source of the same input can resume (skip_to).
struct Position {
  uint64_t record = 0;  // records read
  uint64_t offset = 0;  // bytes of the decompressed input before the next record
  uint64_t line = 0;    // lines before it
};

// A record is a line of text (without \n or \r\n; empty lines count), a JSON line or a CSV record (blank lines are skipped).
// Invalid UTF-8 and NUL bytes in text and CSV are passed through. Errors: "file:line: what".
class Source {
 public:
  virtual ~Source() = default;
  // Reads the next text. Returns false at the end.
  virtual bool next(std::string& text) = 0;
  // After the last record read.
  virtual Position position() const = 0;
  // Resumes at a position of an earlier pass: seeks if possible, otherwise reads up to it. Forward only.
  virtual void skip_to(const Position& position) = 0;
  // Fraction of the input read, 0 to 1; nullopt for pipes.
  virtual std::optional<double> fraction() const = 0;
  virtual const std::string& name() const = 0;
};

// The given format, or the one of the extension; never automatic. Throws if the extension is ambiguous (.json).
Format format_of(const std::filesystem::path& path, Format given);
// path "-": standard input (text unless a format is given). Compression (gzip, zstd) is detected from the content.
std::unique_ptr<Source> open_source(const std::filesystem::path& path, const SourceOptions& options = {});
// "text", "jsonl", "csv", "tsv" or "auto". Throws for others.
Format parse_format(const std::string& name);

}  // namespace m2bert::data
