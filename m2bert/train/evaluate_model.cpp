#include "m2bert/train/evaluate_model.h"

#include "m2bert/checkpoint/match.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/train/initial_weights.h"
#include "m2bert/train/recipe_keys.h"

namespace m2bert::train {

std::vector<Evaluation> evaluate_model(const Recipe& recipe, const tasks::Task& task, const std::filesystem::path& path,
                                       const Processes& processes) {
  require(!recipe.eval_loaders.empty(), where(recipe.tree, "eval_loader"), "is missing: it names the data to evaluate on");
  require_even_share(recipe, "global_eval_batch_size", recipe.global_eval_batch, processes);
  auto data = open_eval_batches(recipe, processes);
  auto weights = checkpoint::load_weights(path);
  models::drop_other_heads(weights, recipe.model, task.head());
  models::Model model(recipe.model, task.head());
  checkpoint::match(model, weights, {.source = path.string(), .advice = "Is this the recipe of the checkpoint?"});
  require_finite(model, path.string());
  return evaluate_all(model, task, eval_sets(recipe, data), processes, {recipe.eval_subset, recipe.device_eval_batch, recipe.compute});
}

}  // namespace m2bert::train
