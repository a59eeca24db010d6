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
  SourceOptions source;      // field and delimiter are for the inputs that have a use for them
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

  // Documents are free of NUL bytes and of invalid UTF-8; one that is not is a BadRecord, or skipped with source.skip_bad.
  bool next(std::string& text);
  // Documents that skip_bad passed over since the beginning or skip_to, and the error of the first one.
  uint64_t skipped() const;
  const std::string& first_skipped() const;
  // After the last document read.
  DocumentPosition position() const;
  // Resumes at a position of an earlier pass over the same inputs. Forward only.
  void skip_to(const DocumentPosition& position);
  // "file:line" of the last document read, or the file for whole_files.
  std::string where() const;
  // Fraction of the inputs' bytes read, 0 to 1; nullopt if one of them is a pipe.
  std::optional<double> fraction() const;

 private:
  bool open_next();
  bool next_file(std::string& text);
  void count_skipped(uint64_t count, const std::string& why);
  std::vector<std::filesystem::path> inputs_;
  DocumentOptions options_;
  std::vector<uint64_t> bytes_before_;  // prefix sums of the input sizes; empty: unknown
  size_t input_ = 0;                    // the open one, or the next
  std::unique_ptr<Source> source_;
  uint64_t skipped_ = 0;  // without those of the open source
  std::string first_skipped_;
};

// Whether an input can be read twice: files can, pipes and standard input cannot.
bool can_reread(const std::filesystem::path& input);

// Expands folders to the files in them, recursively, sorted by name, without hidden ones. Throws for a path that does not exist or a folder
// without files.
std::vector<std::filesystem::path> input_files(const std::vector<std::string>& given);

}  // namespace m2bert::data
