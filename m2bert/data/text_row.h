#pragma once
// Turns a sample of a data set into a row of token ids.
#include <cstdint>
#include <string>
#include <vector>

#include "m2bert/data/mds_shard.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::data {

struct TextRow {
  std::vector<int32_t> ids;     // truncated, not padded
  std::vector<int32_t> labels;  // from the data set; empty: it has none
  bool from_tokens = false;     // the data set has tokens, not text
};

// Immutable and thread-safe.
class TextRowReader {
 public:
  // given_labels: also read the column `labels`.
  TextRowReader(tokenize::WordPiece tokenizer, size_t length, bool given_labels);

  // Reads the column `text` (str or bytes), tokenized with [CLS] and [SEP]; or else the column `tokens` (int64 values as bytes, or an array
  // of integers). Both are truncated to the length. Throws if there is neither, if the bytes are not integers, or if an id is not in the
  // vocabulary.
  TextRow read(const MdsShard& shard, uint64_t sample) const;
  // Throws unless the shard has the columns that read() needs, in supported encodings.
  void check(const MdsShardInfo& info, const std::string& where) const;
  const tokenize::WordPiece& tokenizer() const { return tokenizer_; }

 private:
  TextRow read_tokens(const MdsShard& shard, uint64_t sample) const;
  std::vector<int32_t> read_ids(const MdsShard& shard, uint64_t sample, size_t column) const;
  tokenize::WordPiece tokenizer_;
  size_t length_;
  bool given_labels_;
};

}  // namespace m2bert::data
