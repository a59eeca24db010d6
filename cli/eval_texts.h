#pragma once
// What eval sts, eval classification and eval clustering share: files of labelled texts, and their vectors.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/eval_option.h"
#include "m2bert/data/labelled.h"

namespace m2bert::cli {

struct EvalTextsOption {
  EvalModelOption model;
  ResultOption results;
  std::vector<std::string> inputs;
  std::optional<std::string> prompt;
  std::string text, pair, label;  // names of columns
  std::string format, delimiter;
  bool no_quotes = false, skip_bad = false;
};

// Adds INPUT... (`input` is its type, `what` describes it) and all other options; with --pair-field if the texts are pairs. label: what the
// column is, "the label".
void add_eval_texts_options(CLI::App& app, EvalTextsOption& option, const std::string& input, const std::string& what, bool pairs,
                            const std::string& label);
// Error, before any work, for options that cannot be used.
void check_eval_texts(const EvalTextsOption& option);
// How a file is read under these options.
data::LabelledOptions labelled_options(const EvalTextsOption& option);
// data::read_labelled; errors say what to do, and records that were passed over are warned of.
data::LabelledData read_labelled_file(const std::string& path, const data::LabelledOptions& options);

// A model with its cache.
class TextVectors {
 public:
  explicit TextVectors(const EvalTextsOption& option);
  // [texts, dim()]. Progress and notes call the texts `name`.
  std::vector<float> operator()(const std::string& name, const std::vector<std::string>& texts) const;
  size_t dim() const { return cached_.dim(); }
  // Results with the settings of the model and the prompt.
  eval::Results results(const std::string& title, const std::vector<std::string>& labels) const;

 private:
  const EvalTextsOption& option_;
  infer::Embedder embedder_;
  eval::CachedEmbedder cached_;
  std::string prompt_;
};

}  // namespace m2bert::cli
