#include "cli/glue_predictions.h"

#include <algorithm>

#include "m2bert/data/glue.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/tasks/classification.h"
#include "m2bert/train/evaluate_model.h"

namespace m2bert::cli {
namespace {

namespace fs = std::filesystem;

void add_test_sets(const data::GlueFolder& folder, const data::GlueTask& task, std::vector<GlueTestSet>& sets) {
  if (!folder.has(task)) return;
  for (const auto& split : task.test) sets.push_back({task.name, split.name, split.submission});
}

// What the submission says for each row: the most likely label, or the number.
std::vector<double> predictions_of(const data::GlueTask& task, const tasks::Predictions& found) {
  std::vector<double> out;
  if (task.is_regression()) {
    out.assign(found.logits.begin(), found.logits.end());
  } else {
    const auto classes = tasks::predicted_classes(found);
    out.assign(classes.begin(), classes.end());
  }
  return out;
}

}  // namespace

std::vector<GlueTestSet> test_sets_of(const fs::path& data, const std::string& task) {
  const data::GlueFolder folder(data);
  std::vector<GlueTestSet> sets;
  add_test_sets(folder, data::glue_task(task), sets);
  if (task == "mnli") add_test_sets(folder, data::glue_task("ax"), sets);
  return sets;
}

std::vector<train::Evaluation> evaluate_glue(const io::Tree& recipe, const fs::path& model, const fs::path& data,
                                             const std::vector<GlueTestSet>& sets) {
  io::Tree tree = recipe, loaders = io::Tree::list();
  for (const auto& set : sets)
    loaders.push_back(io::Tree{{"name", "glue"},
                               {"folder", fs::absolute(data).string()},
                               {"task", set.task},
                               {"split", set.split},
                               {"label", set.task + "/" + set.split}});
  tree.set("eval_loader", loaders);
  const auto read = train::read_generated_recipe(tree, "GLUE");
  return train::evaluate_model(read, *train::make_task(read), model, train::Processes());
}

void write_glue_predictions(const io::Tree& recipe, const fs::path& model, const fs::path& data, const std::string& task,
                            const fs::path& folder) {
  const auto sets = test_sets_of(data, task);
  if (sets.empty()) return;
  const auto read = train::read_generated_recipe(recipe, "GLUE");
  const auto made = train::make_task(read);
  const auto& classification = dynamic_cast<const tasks::Classification&>(*made);
  const auto evaluations = evaluate_glue(recipe, model, data, sets);
  require(!io::interrupted(), "stopped; no predictions are written for a part of the test sets");
  for (size_t i = 0; i < sets.size(); ++i) {
    const auto& of = data::glue_task(sets[i].task);
    const auto found = predictions_of(of, classification.predictions_of(evaluations[i].predictions));
    io::write_file(folder / sets[i].file, data::glue_submission(of, found));
  }
}

}  // namespace m2bert::cli
