#pragma once
// Training, from a recipe to a trained model.
#include <functional>

#include "m2bert/tasks/task.h"
#include "m2bert/train/recipe.h"

namespace m2bert::train {

struct PretrainResult {
  TrainingEnd end = TrainingEnd::finished;
  bool was_finished = false;  // the checkpoint that it resumed from was that of the end of the run
  optim::Timestamp time;
  size_t parameters = 0;
  double loss = 0;  // of the last batch; NaN without one
  std::optional<Evaluation> evaluation;
  double seconds = 0;  // of training, over all sessions
  std::filesystem::path folder;
  std::filesystem::path model;  // folder of the trained model; empty when the run was stopped
};

// Runs the recipe for a task. Everything a run leaves is in its folder: recipe.yaml, config.json, metrics.jsonl, checkpoints, and at the
// end the model as a Hugging Face folder. Every process of the run calls it. on_start is called once the data and the folder are found to
// be right. Error: see trainer.h.
PretrainResult pretrain(const Recipe& recipe, const tasks::Task& task, const Processes& processes,
                        const std::function<void()>& on_start = {});

}  // namespace m2bert::train
