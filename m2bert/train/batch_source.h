#pragma once
// The loaders of a recipe (train_loader, eval_loader).
#include <memory>
#include <string>

#include "m2bert/data/train_batch.h"
#include "m2bert/io/tree.h"
#include "m2bert/models/config.h"

namespace m2bert::train {

struct BatchSettings {
  uint64_t seed = 17;
  int rank = 0, size = 1;  // this process among those of the run
  models::Config model;
};

// A source of batches with what a run must know of it.
class BatchStream {
 public:
  BatchStream(std::unique_ptr<data::BatchSource> source, int64_t global_batch, int length, bool drop_last, std::string vocabulary);

  data::BatchSource& source() { return *source_; }
  int length() const { return length_; }                         // of the longest row, in tokens
  const std::string& vocabulary() const { return vocabulary_; }  // text of a vocab.txt; empty: not known
  // Batches of an epoch, and the samples in them, of all processes. subset: train_subset_num_batches, -1 for all. Error: not one batch.
  int64_t batches_per_epoch(int64_t subset) const;
  int64_t samples_per_epoch(int64_t subset) const;

 private:
  std::unique_ptr<data::BatchSource> source_;
  int64_t global_batch_;
  int length_;
  bool drop_last_;
  std::string vocabulary_;
};

// Opens the loader that a recipe describes, by its `name`:
//   text      text or tokens in an MDS dataset, masked on the way (data::open_text_data)
//   batches   ready batches in a safetensors file, named by `file` (FixedBatches)
// Error with the recipe's place for another name, texts longer than the model takes, and everything that the data are refused for.
BatchStream open_batches(const io::Tree& loader, int64_t global_batch, const BatchSettings& settings);

}  // namespace m2bert::train
