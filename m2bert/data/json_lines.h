#pragma once
// Files of JSON lines whose objects are read whole.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "m2bert/data/bad_record.h"
#include "m2bert/data/line_reader.h"
#include "m2bert/io/tree.h"

namespace m2bert::data {

// Records that were passed over, and the error of the first one.
struct SkippedRecords {
  uint64_t count = 0;
  std::string first;
  // Counts a record; throws it again unless `skip`.
  void add(const BadRecord& error, bool skip);
  // Counts those of another file.
  void add(const SkippedRecords& more);
};

class JsonLines {
 public:
  // Gzip and zstd are detected from the content. skip_bad: lines that are no JSON objects are passed over and counted.
  explicit JsonLines(const std::filesystem::path& path, bool skip_bad = false, size_t max_line_bytes = size_t{1} << 28);

  // Reads the next object; blank lines are skipped. False at the end. BadRecord, "file:line: what", for other lines.
  bool next(io::Tree& object);
  // Reads the next object and calls use with it. A BadRecord that this throws is passed over under skip_bad.
  bool next(const std::function<void(const io::Tree& object)>& use);

  std::string where() const { return lines_.where(); }  // "file:line" of the last object
  const SkippedRecords& skipped() const { return skipped_; }

 private:
  io::Tree parse() const;

  LineReader lines_;
  bool skip_bad_;
  std::string line_;
  SkippedRecords skipped_;
};

// The string of a member; with numbers also an integer as text, for ids. BadRecord, which begins with `where`, if it is absent or of
// another kind.
std::string string_member(const io::Tree& object, const std::string& name, const std::string& where, bool numbers = false);

}  // namespace m2bert::data
