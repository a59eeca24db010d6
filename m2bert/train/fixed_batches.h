#pragma once
// Ready batches with their masks from a safetensors file, to compare a run with that of another program.
#include <filesystem>

#include "m2bert/data/batch_source.h"

namespace m2bert::train {

// Integer tensors [batches, rows, length] of the global batches: input_ids, attention_mask, labels (-100: ignored) and optionally
// token_type_ids. An epoch is the file once, in its order.
class FixedBatches : public data::BatchSource {
 public:
  // This process gets rows [rank, rank + 1) * rows / size of each batch. Error: a tensor is missing or has another shape or dtype; `size`
  // does not divide the rows.
  FixedBatches(const std::filesystem::path& file, int rank, int size);
  std::optional<data::Batch> next() override;
  void seek(const data::DataPosition& position) override;
  uint64_t samples_per_epoch() const override { return uint64_t(batches_) * uint64_t(global_rows_); }

  // Error that names the file unless 0 <= id < vocab_size for all ids and labels other than -100.
  void require_ids_below(int vocab_size) const;
  int global_rows() const { return global_rows_; }
  int length() const { return length_; }

 private:
  std::vector<int32_t> share_of(const std::vector<int32_t>& all) const;

  std::string path_;
  int batches_ = 0, global_rows_ = 0, length_ = 0, first_ = 0, rows_ = 0;
  int64_t next_ = 0;
  std::vector<int32_t> input_ids_, attention_mask_, labels_, token_type_ids_;
};

}  // namespace m2bert::train
