#pragma once
// The tasks of GLUE (Wang et al. 2018), in their official folders and as the hub has them.
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/data/labelled.h"

namespace m2bert::data {

// Metrics that GLUE reports.
enum class GlueMetric { accuracy, f1 /* of label 1 */, matthews, pearson, spearman };
std::string_view glue_metric_name(GlueMetric metric);  // "accuracy", "f1", "matthews", "pearson", "spearman"

// Examples that a task is evaluated on, or whose labels are submitted.
struct GlueSplit {
  std::string name;        // "validation", "validation_mismatched", "test"
  std::string label;       // how upstream names its metrics, "glue_mnli_mismatched"; empty: a test set
  std::string official;    // file in the official folder, without ".tsv": "dev_mismatched"
  std::string submission;  // file that the benchmark wants, "MNLI-mm.tsv"; empty: none
};

struct GlueTask {
  std::string name;                                               // "mnli", as the hub and upstream write it
  std::string folder;                                             // "MNLI", the official folder
  std::string text, text_pair;                                    // columns as the hub names them; text_pair is empty for single sentences
  std::string official_text, official_text_pair, official_label;  // columns of the official files
  std::vector<std::string> label_names;                           // empty: the task is a regression
  std::vector<std::string> official_labels;                       // what official files and submissions say instead; empty: label_names
  std::vector<GlueMetric> metrics;                                // the benchmark's
  std::vector<GlueSplit> evaluation, test;

  bool is_pair() const { return !text_pair.empty(); }
  bool is_regression() const { return label_names.empty(); }
  int outputs() const { return is_regression() ? 1 : static_cast<int>(label_names.size()); }
};

// cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli and ax, which has a test set only: a model for MNLI answers it.
const std::vector<GlueTask>& glue_tasks();
// Throws, with the tasks, for other names.
const GlueTask& glue_task(std::string_view name);

// A folder of GLUE data: a folder a task, by its official name (TSV files) or by the hub's (Parquet or JSON lines). Either may be given in
// upper or lower case. Errors name the folder or file that is missing.
class GlueFolder {
 public:
  explicit GlueFolder(std::filesystem::path folder);

  // Whether there is a folder for the task.
  bool has(const GlueTask& task) const;
  // A hash of the names and contents of the task's files; where they are does not matter.
  std::string hash(const GlueTask& task) const;
  LabelledData train(const GlueTask& task) const;
  LabelledData evaluation(const GlueTask& task, const GlueSplit& split) const;
  // The labels are missing where the files have none.
  LabelledData test(const GlueTask& task, const GlueSplit& split) const;
  // The same by the split's name: "train", "validation_matched", "test". Error for a split that the task does not have.
  LabelledData split(const GlueTask& task, const std::string& name) const;

 private:
  std::filesystem::path folder_;
};

// The text of a submission: "index<TAB>prediction" and a line an example. prediction: an index of label_names, or a number, which is
// limited to 0 to 5. Labels are written as the benchmark wants them: names for MNLI, QNLI, RTE and AX, numbers for the others.
std::string glue_submission(const GlueTask& task, const std::vector<double>& predictions);

}  // namespace m2bert::data
