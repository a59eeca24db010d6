#pragma once
// A training run, from a recipe to a trained model.
#include <functional>
#include <map>
#include <optional>

#include "m2bert/checkpoint/folder.h"
#include "m2bert/tasks/task.h"
#include "m2bert/train/recipe.h"
#include "m2bert/train/record.h"

namespace m2bert::train {

struct RunResult {
  TrainingEnd end = TrainingEnd::finished;
  bool was_finished = false;  // the checkpoint that it resumed from was that of the end of the run
  optim::Timestamp time;
  size_t parameters = 0, trained_parameters = 0;
  double loss = 0;                      // of the last batch; NaN without one
  std::vector<Evaluation> evaluations;  // the last ones; with a best model, those of that model
  std::optional<Best> best;
  double seconds = 0;  // of training, over all sessions
  int processes = 1;
  std::filesystem::path folder;
  std::filesystem::path model;  // folder of the trained model; empty when the run was stopped
};

// The data of a run.
struct RunData {
  std::optional<BatchStream> train;
  std::vector<BatchStream> eval;  // of each of the recipe's eval_loaders
};

struct RunHooks {
  // Opens the data. Absent: those of the recipe's loaders.
  std::function<RunData(const Processes&)> open_data = {};
  // Arrays beside the model that change in training, which checkpoints hold too.
  std::function<std::vector<nn::NamedArray>()> state = {};
  // Called with the model once its weights are there, before the first batch.
  std::function<void(models::Model&, const Processes&)> on_model = [](models::Model&, const Processes&) {};
  std::function<void()> on_start = [] {};             // called once the data and the folder are found to be right
  std::function<void(const Record&)> on_record = {};  // called with each line of metrics.jsonl, in the first process
  // What the folder of the trained model says beside the configuration.
  std::function<void(checkpoint::FolderDescription&)> describe = [](checkpoint::FolderDescription&) {};
};

// Runs the recipe for a task. Everything a run leaves is in its folder: recipe.yaml, config.json, metrics.jsonl, checkpoints, the best
// weights (best.safetensors) where the recipe has metric_for_best_model, and at the end the model as a Hugging Face folder. Every process
// of the run calls it. Error: see trainer.h.
RunResult run(const Recipe& recipe, const tasks::Task& task, const Processes& processes, const RunHooks& hooks = {});

}  // namespace m2bert::train
