#pragma once
// Reads texts from files and pipes, record by record in constant memory.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/io/tree.h"

namespace m2bert::data {

enum class Format {
  automatic /* by extension: .jsonl .ndjson .csv .tsv .parquet, otherwise text; a final .gz or .zst is ignored */,
  text,
  jsonl,
  csv,
  tsv,
  parquet
};

struct SourceOptions {
  Format format = Format::automatic;
  // JSONL: a key, or "a.b" for a nested one; a key that has the dot itself is found first. CSV and TSV: column name or number from 1.
  // Parquet: column name.
  // Empty: "text", or the only column.
  std::string field;
  // Further fields that are carried along (Source::kept), named as `field` is.
  std::vector<std::string> keep;
  // Tables: what divides the columns, one character. A table with it is read by the rules of CSV. Empty: a comma, or a tab for TSV.
  std::string delimiter;
  bool header = true;  // CSV and TSV: the first record names the columns
  bool quotes = true;  // CSV and TSV: false: a quote is a character like any other
  // Records instead of texts: next() gives an empty text, and kept() the whole record, a JSON object or all columns by name (by number from
  // "1" without a header). `field` and `keep` are empty then.
  bool records = false;
  size_t max_record_bytes = size_t{64} << 20;  // a longer line or record is an error
  bool skip_bad = false;                       // pass over and count records that cannot be used; otherwise they are an error
};

// A position between two records, from which a new source of the same input can resume (skip_to).
struct Position {
  uint64_t record = 0;  // records read, with those that were skipped
  uint64_t offset = 0;  // bytes of the decompressed input before the next record
  uint64_t line = 0;    // lines before it
};

// A record is a line of text (empty lines count), a JSON line, a CSV record (blank lines are skipped) or a row of a Parquet file. A line
// ends with \n, \r\n or \r. Errors: "file:line: what". A record that cannot be used is a BadRecord: invalid UTF-8 and NUL bytes, a JSON
// line without the field, a row with more or fewer columns than the header.
class Source {
 public:
  virtual ~Source() = default;
  // Reads the next text. Returns false at the end. After a BadRecord the next call goes on with the next record.
  virtual bool next(std::string& text) = 0;
  // The fields SourceOptions::keep of the last record read, or all with SourceOptions::records, as a map: the values of JSON lines and
  // Parquet files, strings of a table.
  virtual const io::Tree& kept() const = 0;
  // Records that skip_bad passed over, and the error of the first one.
  virtual uint64_t skipped() const = 0;
  virtual const std::string& first_skipped() const = 0;
  // "file:line" of the first line of the last record read, "file: row 3" for a Parquet file.
  virtual std::string where() const = 0;
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
// path "-": standard input (text unless a format is given). Compression (gzip, zstd) is detected from the content. Throws for options that
// the format has no use for: a field or `keep` for text, a delimiter for text or JSON lines.
std::unique_ptr<Source> open_source(const std::filesystem::path& path, const SourceOptions& options = {});
// "text", "jsonl", "csv", "tsv", "parquet" or "auto". Throws for others.
Format parse_format(const std::string& name);
// One character, or \t for a tab. Throws for others, and for quotes and line ends.
std::string parse_delimiter(const std::string& text);

}  // namespace m2bert::data
