#pragma once
// What the commands that train have in common: recipes with overrides, several processes, signals, and the result.
#include <functional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "m2bert/train/run.h"

namespace CLI {
class App;
}

namespace m2bert::cli {

struct TrainingOptions {
  std::vector<std::string> overrides;
  std::string hostfile;
  int launch = 1, rank = -1;
  bool allow_unknown = false;
};

// Adds KEY=VALUE..., --allow-unknown, --launch, --hostfile and --rank.
void add_training_options(CLI::App& app, TrainingOptions& options);

struct TrainingCommand {
  TrainingOptions options;
  // The words of this command without its training options, by which --launch starts its processes: {"pretrain", "recipe.yaml"}.
  std::vector<std::string> words;
  // Reads the recipe with the overrides of `options`. Called again in each of several processes, with the ranks for its paths.
  std::function<train::Recipe(const train::RecipeOptions&)> read;
  std::string resume = "autoresume=true";  // what a user adds to this command to resume a run
  bool shows_recipe = true;                // prints the recipe at the start, as a user who wrote it wants to see it resolved
  // The task and the hooks of the run.
  std::function<std::unique_ptr<tasks::Task>(const train::Recipe&)> task = train::make_task;
  train::RunHooks hooks;
  // Called in the first process once the model is written, before the result is printed.
  std::function<void(const train::Recipe&, const tasks::Task&, const train::RunResult&)> finish = {};
};

// Trains, and prints the result. Throws Error or QuietExit if the run is stopped.
void run_training(const TrainingCommand& command, const Globals& globals);

// The result with all metrics, as --json prints it.
io::Tree result_tree(const train::RunResult& result);

}  // namespace m2bert::cli
