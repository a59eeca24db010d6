#pragma once
// The loaders of a recipe (train_loader, eval_loader).
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/data/batch_source.h"
#include "m2bert/data/labelled.h"
#include "m2bert/data/text_config.h"
#include "m2bert/io/tree.h"
#include "m2bert/models/config.h"
#include "m2bert/tokenize/wordpiece.h"
#include "m2bert/train/retrieval_config.h"

namespace m2bert::train {

// A task of GLUE and its split: "train", "validation".
struct GlueSelection {
  std::string task, split;
};

// Labelled texts for classification and regression.
struct LabelledLoader {
  std::filesystem::path file;         // for glue, the folder
  std::optional<GlueSelection> glue;  // name: glue
  data::LabelledOptions labels;       // without label names: the model's
  int max_seq_len = 0;                // 0: the model's default_length()
  bool shuffle = false, drop_last = false;
  std::optional<bool> pad_to_longest;  // absent: where the padding does not change the result
};

// A loader's settings, read and checked; the data are not opened yet.
struct LoaderConfig {
  std::string label;                         // of an evaluation set; empty: the only one
  std::optional<data::TextDataConfig> text;  // name: text
  std::optional<LabelledLoader> labelled;    // name: labelled
  std::optional<RetrievalLoader> retrieval;  // name: retrieval
  std::filesystem::path file;                // name: batches
  std::string tokenizer_name;                // empty: the model's
  std::vector<std::string> without_effect;   // keys that were given and have no effect
  io::Tree tree;                             // as in the recipe, for errors that appear when the data are opened
};

// By the loader's `name`:
//   text      text or tokens in an MDS data set, masked on the way (data::open_text_data)
//   labelled  texts or pairs with labels or numbers in a table, JSON lines or Parquet (data::read_labelled): file, text_column,
//             text_pair_column, label_column, kind, labels, separator, format, delimiter, skip_bad; tokenizer_name, max_seq_len, padding
//             (max_length or longest), shuffle, drop_last
//   retrieval queries and passages (read_retrieval_loader)
//   glue      a split of a GLUE task (data::GlueFolder): folder, task, split; and those of labelled that do not describe a file. A test set
//             without labels gets the label 0 everywhere
//   batches   ready batches in a safetensors file, named by `file` (FixedBatches)
// and for an evaluation set its `label`.
// Error with the recipe's line for another name, an unknown key or an invalid value.
LoaderConfig read_loader(const io::Tree& loader);

// The problem_type of a model for these labels: regression, multi_label_classification or single_label_classification.
const char* problem_type_of(data::LabelKind kind);

// The texts of a loader, with the model's label names where the loader has none. Error: see data::read_labelled and data::GlueFolder.
data::LabelledData read_texts(const LabelledLoader& loader, const models::Config& model);

// bert-base-uncased, or the tokenizer of a file or folder. Error that starts with `where`.
tokenize::WordPiece tokenizer_named(const std::string& name, const std::string& where);

// The files of a named tokenizer. Empty if the model has fewer tokens than it: then the batches have another vocabulary.
std::map<std::string, std::string> tokenizer_files_of(const tokenize::WordPiece& tokenizer, const std::string& name,
                                                      const models::Config& model);

struct BatchSettings {
  uint64_t seed = 17;
  int rank = 0, size = 1;  // of the processes of the run
  models::Config model;
  std::string tokenizer_where = "model.tokenizer_name: ";  // the start of errors about the model's tokenizer
};

// What a run must know about a source of batches.
struct StreamInfo {
  int64_t global_batch = 1;
  int length = 0;          // of the longest row, in tokens
  bool drop_last = false;  // an epoch ends with its last whole batch
  // The tokenizer's files, with which the model is saved: name and content. Empty: unknown.
  std::map<std::string, std::string> tokenizer = {};
  std::string where = {};        // the start of errors about the number of batches, the recipe's place of the loader
  std::string fingerprint = {};  // a hash by which a run recognises its data, wherever they are; empty: unknown
};

class BatchStream {
 public:
  BatchStream(std::unique_ptr<data::BatchSource> source, StreamInfo info) : source_(std::move(source)), info_(std::move(info)) {}

  data::BatchSource& source() { return *source_; }
  const StreamInfo& info() const { return info_; }
  // Batches of an epoch, and their samples, over all processes. subset: train_subset_num_batches, -1 for all. Error: not even one batch.
  int64_t batches_per_epoch(int64_t subset) const;
  int64_t samples_per_epoch(int64_t subset) const;

 private:
  std::unique_ptr<data::BatchSource> source_;
  StreamInfo info_;
};

// Opens the data of a loader. Error with the recipe's line and key for texts longer than the model's maximum, a vocabulary larger than the
// model's, and invalid data.
BatchStream open_batches(const LoaderConfig& loader, int64_t global_batch, const BatchSettings& settings);

}  // namespace m2bert::train
