#pragma once
// Builds MDS data sets from text files (`m2bert data build`).
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
  uint64_t documents = 0;  // kept
  uint64_t empty = 0;      // skipped: nothing but white space
  uint64_t bad = 0;        // skipped: cannot be used (skip_bad)
  uint64_t cut = 0;        // truncated to max_chars
};

struct BuildOptions {
  std::vector<std::filesystem::path> inputs;
  DocumentOptions documents;
  uint64_t max_chars = 0;  // longer documents are truncated; 0: no limit
  uint64_t limit = 0;      // stop after this many documents; 0: no limit
                           // documents.source.skip_bad: a resumed run may turn it on

  std::filesystem::path out;
  std::string split = "train", val_split = "val";  // folders in `out`
  double val_fraction = 0;                         // share of the documents for val_split; set this or val_count, not both
  uint64_t val_count = 0;
  uint64_t seed = 0;  // of the random choice of validation documents

  MdsFormat format;                        // its columns are set by the builder
  std::optional<TokenPackOptions> tokens;  // set: samples of joined texts in a column `tokens`; absent: a column `text`

  bool resume = false, overwrite = false;
  double save_seconds = 30;  // between two saved states from which a run can resume
  int threads = 1;
  size_t tokenize_bytes = size_t{4} << 20;  // of texts that are tokenized as one batch
  std::function<void(const BuildCounts& counts, std::optional<double> fraction)> progress;
};

struct BuiltSplit {
  std::string name;
  uint64_t samples = 0, shards = 0, bytes = 0, packed_bytes = 0;
};

struct BuildResult {
  BuildCounts counts;
  std::vector<BuiltSplit> splits;
  std::string first_bad;      // why the first document that this run skipped cannot be used
  uint64_t tokens_lost = 0;   // the last ones, too few for a sample
  bool was_complete = false;  // an earlier run had finished; nothing was done
};

// Deterministic: the files depend on input and options only, not on the number of threads or on interruptions. The tokenizer is used for
// token samples only. Errors name the file and line, or the option.
BuildResult build_dataset(const BuildOptions& options, const tokenize::WordPiece& tokenizer);

}  // namespace m2bert::data
