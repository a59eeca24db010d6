#pragma once
// The loaders of a recipe (train_loader, eval_loader).
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/data/batch_source.h"
#include "m2bert/data/text_config.h"
#include "m2bert/io/tree.h"
#include "m2bert/models/config.h"

namespace m2bert::train {

// A loader's settings, read and checked; the data are not opened yet.
struct LoaderConfig {
  std::optional<data::TextDataConfig> text;  // name: text
  std::filesystem::path file;                // name: batches
  std::string tokenizer_name;                // empty: the model's
  std::vector<std::string> without_effect;   // keys that were given and have no effect
  io::Tree tree;                             // as in the recipe, for errors that appear when the data are opened
};

// By the loader's `name`:
//   text      text or tokens in an MDS data set, masked on the way (data::open_text_data)
//   batches   ready batches in a safetensors file, named by `file` (FixedBatches)
// Error with the recipe's line for another name, an unknown key or an invalid value.
LoaderConfig read_loader(const io::Tree& loader);

struct BatchSettings {
  uint64_t seed = 17;
  int rank = 0, size = 1;  // of the processes of the run
  models::Config model;
  std::string tokenizer_where = "model.tokenizer_name: ";  // the start of errors about the model's tokenizer
};

// A source of batches with what a run must know about it.
class BatchStream {
 public:
  // where: the start of errors about the number of batches, the recipe's place of the loader.
  BatchStream(std::unique_ptr<data::BatchSource> source, int64_t global_batch, int length, bool drop_last, std::string vocabulary,
              std::string where = "");

  data::BatchSource& source() { return *source_; }
  int length() const { return length_; }                         // of the longest row, in tokens
  const std::string& vocabulary() const { return vocabulary_; }  // the text of a vocab.txt; empty: unknown
  // A hash by which a run recognises its data, wherever they are: that of the indexes or of the file; empty: unknown.
  const std::string& fingerprint() const { return fingerprint_; }
  void set_fingerprint(std::string hash) { fingerprint_ = std::move(hash); }
  // Batches of an epoch, and their samples, over all processes. subset: train_subset_num_batches, -1 for all. Error: not even one batch.
  int64_t batches_per_epoch(int64_t subset) const;
  int64_t samples_per_epoch(int64_t subset) const;

 private:
  std::unique_ptr<data::BatchSource> source_;
  int64_t global_batch_;
  int length_;
  bool drop_last_;
  std::string vocabulary_, where_, fingerprint_;
};

// Opens the data of a loader. Error with the recipe's line and key for texts longer than the model's maximum, a vocabulary larger than the
// model's, and invalid data.
BatchStream open_batches(const LoaderConfig& loader, int64_t global_batch, const BatchSettings& settings);

}  // namespace m2bert::train
