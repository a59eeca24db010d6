#pragma once
// Evaluation of a trained model by a recipe, without training.
#include <filesystem>

#include "m2bert/tasks/task.h"
#include "m2bert/train/evaluation.h"
#include "m2bert/train/recipe.h"

namespace m2bert::train {

// The metrics of the recipe's eval_loader, as an evaluation within a run of the recipe computes them. weights: a file, or a model folder. A
// checkpoint that holds averaged weights (algorithms.ema) is evaluated with these, as in its run. Every process calls it. Error: no
// eval_loader, weights that do not fit the recipe's model, or see open_batches.
std::vector<Evaluation> evaluate_model(const Recipe& recipe, const tasks::Task& task, const std::filesystem::path& weights,
                                       const Processes& processes);

}  // namespace m2bert::train
