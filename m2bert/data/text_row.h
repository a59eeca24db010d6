#pragma once
// A sample of a data set as a row of token ids.
#include <cstdint>
#include <string>
#include <vector>

#include "m2bert/data/mds_shard.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::data {

struct TextRow {
  std::vector<int32_t> ids;     // at most the length, not padded
  std::vector<int32_t> labels;  // as the data gives them; empty: it gives none
  bool from_tokens = false;     // the data holds tokens, not text
};

// Immutable, any thread.
class TextRowReader {
 public:
  // given_labels: the column `labels` is read as well.
  TextRowReader(tokenize::WordPiece tokenizer, size_t length, bool given_labels);

  // The column `text` (str or bytes), tokenized with [CLS] and [SEP] and cut to the length; or else the column `tokens` (int64 values as
  // bytes, or an array of whole numbers), cut to the length. Error: there is neither, the bytes are no numbers, an id is not in the
  // vocabulary.
  TextRow read(const MdsShard& shard, uint64_t sample) const;
  // Error unless a shard has the columns that read() needs, in encodings that it takes.
  void check(const MdsShardInfo& info, const std::string& where) const;
  const tokenize::WordPiece& tokenizer() const { return tokenizer_; }

 private:
  TextRow read_tokens(const MdsShard& shard, uint64_t sample) const;
  std::vector<int32_t> numbers(const MdsShard& shard, uint64_t sample, size_t column) const;
  tokenize::WordPiece tokenizer_;
  size_t length_;
  bool given_labels_;
};

}  // namespace m2bert::data
