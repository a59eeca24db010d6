#pragma once
// Batches of labelled texts, tokenized and padded, for training and evaluating classifiers.
#include <cstdint>
#include <vector>

#include "m2bert/data/batch_source.h"
#include "m2bert/data/labelled.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::data {

struct LabelledBatchOptions {
  BatchShape shape;
  int max_seq_len = 128;        // longer texts are truncated; of a pair, the longer text first
  bool pad_to_longest = false;  // of each batch; otherwise to max_seq_len
  bool shuffle = false;         // anew in each epoch
  uint64_t seed = 0;            // of the order
  int threads = 1;              // for tokenizing, when the object is made
};

// An epoch is all texts once; its last batch may be smaller. Batches have labels [rows] for LabelKind::single, otherwise targets: [rows, n]
// with 0 and 1 for n labels, or [rows, 1] numbers. Keeps the tokens of all texts in memory.
class LabelledBatches : public BatchSource {
 public:
  // Error: texts without a label, or more than 2^32 - 2 of them.
  LabelledBatches(const LabelledData& data, const tokenize::WordPiece& tokenizer, const LabelledBatchOptions& options);
  std::optional<Batch> next() override;
  void seek(const DataPosition& position) override;
  uint64_t samples_per_epoch() const override { return size(); }

  // Tokens of the longest text, after truncation.
  int longest() const { return longest_; }
  // Texts that were truncated.
  uint64_t truncated() const { return truncated_; }

 private:
  uint64_t size() const { return begins_.size() - 1; }
  void add(const tokenize::Encoding& encoding);
  void set_labels(const LabelledData& data);
  void append_row(Batch& batch, uint32_t text) const;

  LabelledBatchOptions options_;
  std::vector<int32_t> ids_;         // of all texts
  std::vector<uint64_t> begins_{0};  // of each text in ids_, and the end
  std::vector<uint32_t> seconds_;    // where the second text of a pair begins; the number of tokens if there is none
  std::vector<int32_t> labels_;      // [n]
  std::vector<float> targets_;       // [n, targets_width_]
  size_t targets_width_ = 0;
  int32_t pad_id_ = 0;
  int longest_ = 0;
  uint64_t truncated_ = 0;
  std::vector<uint32_t> order_;
  uint64_t next_ = 0;
};

// The numbers of `size` texts in the order in which an evaluation by all ranks has their predictions (tasks::MetricSums). shape: rank is
// not used.
std::vector<uint32_t> gathered_order(uint64_t size, const BatchShape& shape);

}  // namespace m2bert::data
