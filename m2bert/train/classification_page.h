#pragma once
// What a classifier gets right and wrong, as parts of an HTML page (report.h) and as JSON lines.
#include <string>
#include <vector>

#include "m2bert/data/labelled.h"
#include "m2bert/tasks/classification.h"

namespace m2bert::train {

// A text whose prediction differs from its label, or, for a regression, one of those with the largest errors.
struct WrongExample {
  uint32_t text;  // its number in the data
  std::string label, predicted;
  double score = 0;  // probability of what was predicted; for several labels that of the least certain wrong one; error of a number
};

// predictions are in the order of the texts. The most confident mistakes come first; for a regression all texts, the largest errors first.
std::vector<WrongExample> wrong_examples(const data::LabelledData& data, tasks::Problem problem, const tasks::Predictions& predictions);

// {"text": ..., "text_pair": ..., "label": ..., "predicted": ..., "score": ...}, a line each.
std::string wrong_examples_jsonl(const data::LabelledData& data, const std::vector<WrongExample>& wrong);

// The confusion matrix (labels in rows) for single labels, precision, recall and F1 of each label, and the first `most` wrong examples.
std::string classification_html(const data::LabelledData& data, tasks::Problem problem, const tasks::Predictions& predictions,
                                const std::vector<WrongExample>& wrong, size_t most = 50);

}  // namespace m2bert::train
