#pragma once
// Labelled texts, for training and evaluating classifiers and regressors.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/data/source.h"

namespace m2bert::data {

enum class LabelKind {
  single,  // a text has one of the labels
  multi,   // a text has any number of them
  number,  // a text has a number (regression)
};

struct LabelledOptions {
  // Format, delimiter, header, quotes and skip_bad are used. skip_bad also passes over records whose text or label cannot be used.
  SourceOptions source;
  // Columns of tables and Parquet files, keys of JSON lines ("a.b" for a nested one). Columns of a table can also be given by their number
  // from 1. Empty: the first of default_columns() that the file has.
  std::string text, text_pair, label;
  // nullopt: follows from the labels. Lists are multi. A column called "score", and numbers of which one has a decimal point, are numbers.
  // All else is single.
  std::optional<LabelKind> kind;
  // The names that labels may have, in the order of the model's outputs. Empty: those of the file, sorted; if all are numbers, by value.
  std::vector<std::string> label_names;
  // Whether an integer of JSON lines or Parquet that is no label's name is its index in label_names, as in the data sets of the hub.
  bool integers_are_indices = false;
  // Divides several labels in a string.
  std::string separator = ",";
  // Whether texts may lack a label: no value, or -1 as in GLUE's test sets. A file without a label column is then one without labels.
  bool allow_unlabelled = false;
};

struct LabelledData {
  std::string name;                              // of the file, for messages
  LabelKind kind = LabelKind::single;            // one of the three vectors of labels is filled
  std::vector<std::string> texts;                //
  std::vector<std::string> pairs;                // the second texts; empty: texts are no pairs
  std::vector<std::string> label_names;          // empty for numbers
  std::vector<int32_t> labels;                   // single: indices of label_names; -1: unlabelled
  std::vector<std::vector<int32_t>> label_sets;  // multi: sorted indices. Unlabelled texts are not told apart from texts with no label
  std::vector<float> values;                     // number; NaN: unlabelled
  std::vector<uint64_t> records;                 // the number of each text's record in the file, from 0
  uint64_t unlabelled = 0;                       // texts without a label
  uint64_t skipped = 0;                          // records that skip_bad passed over
  std::string first_skipped;                     // the error of the first one

  size_t size() const { return texts.size(); }
  bool are_pairs() const { return !pairs.empty(); }
};

// Columns that are looked for if none is given: text pairs, single texts, labels.
struct DefaultColumns {
  std::vector<std::pair<std::string, std::string>> pairs;
  std::vector<std::string> texts, labels;
};
const DefaultColumns& default_columns();

// Reads a table, JSON lines or a Parquet file. Errors name file, line and column: a column that is missing, a label that is missing, that
// is NaN or infinite, or that is not among label_names, a text that is missing or no string, a file without records.
LabelledData read_labelled(const std::filesystem::path& path, const LabelledOptions& options = {});

// How many texts have each label. Empty for numbers.
std::vector<uint64_t> label_counts(const LabelledData& data);
// Throws, with their names, if there are labels that no text has, or if all texts have the same. Numbers: if all are equal.
void require_every_label(const LabelledData& data);

}  // namespace m2bert::data
