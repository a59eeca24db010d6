#pragma once
// Text files to MDS data sets: m2bert data build.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/data/documents.h"
#include "m2bert/data/mds_writer.h"
#include "m2bert/data/token_packer.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::data {

struct BuildCounts {
  uint64_t documents = 0;  // read and kept
  uint64_t empty = 0;      // left out: nothing but white space
  uint64_t bad = 0;        // left out: not UTF-8 (skip_bad)
  uint64_t cut = 0;        // cut to max_chars
};

struct BuildOptions {
  std::vector<std::filesystem::path> inputs;
  DocumentOptions documents;
  uint64_t max_chars = 0;  // characters of a document that are kept; 0: all
  uint64_t limit = 0;      // documents that are read; 0: all
  bool skip_bad = false;   // documents that are not UTF-8 are left out; else they are an error. resume: may be turned on

  std::filesystem::path out;
  std::string split = "train", val_split = "val";  // folders in `out`
  double val_fraction = 0;                         // documents that go to val_split instead; at most one of the two
  uint64_t val_count = 0;
  uint64_t seed = 0;  // by which they are chosen

  MdsFormat format;                        // without columns
  std::optional<TokenPackOptions> tokens;  // absent: a column `text`; else joined token samples in a column `tokens`

  bool resume = false, overwrite = false;
  double save_seconds = 30;  // between two states that a later run can go on from
  int threads = 1;
  size_t tokenize_bytes = size_t{4} << 20;  // texts that are tokenized together
  std::function<void(const BuildCounts& counts, std::optional<double> fraction)> progress;
};

struct BuiltSplit {
  std::string name;
  uint64_t samples = 0, shards = 0, bytes = 0, packed_bytes = 0;
};

struct BuildResult {
  BuildCounts counts;
  std::vector<BuiltSplit> splits;
  uint64_t tokens_lost = 0;   // at the end: too few for a sample
  bool was_complete = false;  // an earlier run had done it all
};

// The same files for the same input and options, whatever the threads and however often the run was interrupted. tokenizer: needed for
// token samples. Errors name file and line, or the option.
BuildResult build_dataset(const BuildOptions& options, const tokenize::WordPiece& tokenizer);

}  // namespace m2bert::data
