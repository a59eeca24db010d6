#pragma once
// Reads the documents of one or more inputs in order.
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
  bool whole_files = false;  // each file is one document, whatever its name; it may be compressed
};

// A position between two documents.
struct DocumentPosition {
  uint64_t input = 0;  // inputs that were read completely
  Position inside;     // the next input
};

class Documents {
 public:
  // "-" is standard input. An input is opened when it is reached; errors as in open_source().
  Documents(std::vector<std::filesystem::path> inputs, DocumentOptions options);

  bool next(std::string& text);
  // After the last document read.
  DocumentPosition position() const;
  // Resumes at a position of an earlier pass over the same inputs. Forward only.
  void skip_to(const DocumentPosition& position);
  // "file:line" of the last document read, or the file for whole_files.
  std::string where() const;
  // Fraction of the inputs' bytes read, 0 to 1; nullopt with standard input.
  std::optional<double> fraction() const;

 private:
  bool open_next();
  std::vector<std::filesystem::path> inputs_;
  DocumentOptions options_;
  std::vector<uint64_t> bytes_before_;  // prefix sums of the input sizes; empty: unknown
  size_t input_ = 0;                    // the open one, or the next
  std::unique_ptr<Source> source_;
  std::string whole_;  // the last file read with whole_files
};

// Expands folders to the files in them, recursively, sorted by name, without hidden ones. Throws for a path that does not exist or a folder
// without files.
std::vector<std::filesystem::path> input_files(const std::vector<std::string>& given);

}  // namespace m2bert::data
