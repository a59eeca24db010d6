#pragma once
// A fine-tuned model on the data of a GLUE task.
#include <filesystem>
#include <string>
#include <vector>

#include "m2bert/io/tree.h"
#include "m2bert/train/evaluation.h"

namespace m2bert::cli {

// A test set and the file of its predictions: the task's own, and for MNLI also the diagnostic set AX.
struct GlueTestSet {
  std::string task, split, file;
};

// The test sets that a model for this task answers, and that are in the folder of GLUE data.
std::vector<GlueTestSet> test_sets_of(const std::filesystem::path& data, const std::string& task);

// Evaluates a model on splits of a task. recipe: of a run, whose model, length and batches are used. In each evaluation, `predictions` has
// the logits.
std::vector<train::Evaluation> evaluate_glue(const io::Tree& recipe, const std::filesystem::path& model, const std::filesystem::path& data,
                                             const std::vector<GlueTestSet>& sets);

// Writes the files of test_sets_of into a folder.
void write_glue_predictions(const io::Tree& recipe, const std::filesystem::path& model, const std::filesystem::path& data,
                            const std::string& task, const std::filesystem::path& folder);

}  // namespace m2bert::cli
