#pragma once
// The documents of one or more inputs, one after another.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/data/source.h"

namespace m2bert::data {

struct DocumentOptions {
  SourceOptions source;
  bool whole_files = false;  // a document is a whole file (which may be compressed), whatever its name
};

// Where a reader stands between two documents.
struct DocumentPosition {
  uint64_t input = 0;  // inputs read to their end
  Position inside;     // of the next one
};

class Documents {
 public:
  // "-" is standard input. Errors as those of open_source(), when the input's turn comes.
  Documents(std::vector<std::filesystem::path> inputs, DocumentOptions options);

  bool next(std::string& text);
  // Behind the document last read.
  DocumentPosition position() const;
  // Forward only, to a position of an earlier reading of the same inputs.
  void skip_to(const DocumentPosition& position);
  // "file:line" of the document last read; for whole files the file.
  std::string where() const;
  // Share of the inputs' bytes read, 0 to 1; nothing with standard input.
  std::optional<double> fraction() const;

 private:
  bool open_next();
  std::vector<std::filesystem::path> inputs_;
  DocumentOptions options_;
  std::vector<uint64_t> bytes_before_;  // of all inputs before each, and of all; empty: not known
  size_t input_ = 0;                    // the one that is open, or next
  std::unique_ptr<Source> source_;
  std::string whole_;  // the whole file last read
};

// Files as they are given; a folder stands for the files in it and below, sorted by name, without hidden ones. Error: a path that does not
// exist, a folder without files.
std::vector<std::filesystem::path> input_files(const std::vector<std::string>& given);

}  // namespace m2bert::data
