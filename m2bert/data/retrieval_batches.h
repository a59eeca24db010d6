#pragma once
// Batches of retrieval data: queries with their passages, tokenized.
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "m2bert/data/batch_source.h"
#include "m2bert/data/retrieval_data.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::data {

// Turns texts into the rows of a batch.
struct TextRows {
  tokenize::WordPiece tokenizer;
  size_t max_length = 512, max_query_length = 512;  // in tokens
  bool pad_to_max = true;                           // pads every row to max_length; false: to the longest row of the batch
  std::string query_prompt, passage_prompt;         // put in front of each text
  int threads = 1;

  // Rows of queries, then rows of passages. Error: a length leaves no room for the special tokens.
  Batch rows(std::span<const std::string_view> queries, std::span<const std::string_view> passages) const;
};

struct RetrievalBatchOptions {
  size_t negatives = 0;  // of each sample; from more of them, others are drawn in each epoch
  bool shuffle = true;
  uint64_t seed = 17;
  // No text occurs twice in a batch, where it would be its own negative. A sample whose texts are there already comes in a later batch; if
  // no sample fits, one of an earlier batch is repeated.
  bool no_duplicates = true;
  // Whether no_duplicates looks at the negatives too. False where they change during an epoch, whose order must not depend on them.
  bool distinct_negatives = true;
};

// Batches of n samples. Rows are column by column: n queries, then the positive of each, then the first negative of each, ... labels [rows]
// are the numbers of the texts. targets [rows], where the samples have labels or scores: 0 for a query, and of each passage the label of
// the pair or the score. The order of an epoch's samples depends on seed and epoch; with no_duplicates also on the batch size.
class RetrievalBatches : public BatchSource {
 public:
  // data must outlive the source; its negatives may change between two batches. Error, which begins with `name`: samples with fewer
  // negatives than asked for, or too few samples for one batch.
  RetrievalBatches(const RetrievalData& data, std::string name, TextRows rows, const RetrievalBatchOptions& options,
                   const BatchShape& shape);

  std::optional<Batch> next() override;
  void seek(const DataPosition& position) override;
  uint64_t samples_per_epoch() const override { return data_.samples().size(); }

  // Rows of a sample.
  int rows_per_sample() const { return int(options_.negatives) + 2; }

 private:
  std::vector<size_t> epoch_order() const;
  std::vector<size_t> without_duplicates(const std::vector<size_t>& order) const;
  std::vector<uint32_t> passages_of(size_t sample) const;
  Batch batch_of(std::span<const size_t> samples) const;

  const RetrievalData& data_;
  std::string name_;
  TextRows rows_;
  RetrievalBatchOptions options_;
  BatchShape shape_;
  uint64_t epoch_ = 0, position_ = 0;
  std::vector<size_t> order_;
};

// The queries and passages of an evaluation, a text a row. labels [rows]: the place of the text, queries first.
class TextBatches : public BatchSource {
 public:
  TextBatches(std::vector<std::string> queries, std::vector<std::string> passages, TextRows rows, const BatchShape& shape);
  std::optional<Batch> next() override;
  void seek(const DataPosition& position) override;
  uint64_t samples_per_epoch() const override { return queries_.size() + passages_.size(); }

 private:
  std::vector<std::string> queries_, passages_;
  TextRows rows_;
  BatchShape shape_;
  uint64_t position_ = 0;
};

}  // namespace m2bert::data
