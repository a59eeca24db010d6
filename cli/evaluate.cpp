// m2bert evaluate: the metrics of a model on the evaluation data of a recipe.
#include "m2bert/train/evaluate_model.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>

#include "cli/command.h"
#include "cli/evaluation_text.h"
#include "cli/runtime.h"
#include "m2bert/checkpoint/run_checkpoints.h"
#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"
#include "m2bert/train/initial_weights.h"
#include "m2bert/train/recipe_keys.h"

namespace m2bert::cli {
namespace {

struct EvaluateCommand {
  std::string recipe, model;
  std::vector<std::string> overrides;
  bool allow_unknown = false;
};

// The model that --model names, or the newest checkpoint in save_folder.
std::filesystem::path weights_of(const EvaluateCommand& command, const train::Recipe& recipe) {
  if (!command.model.empty()) return train::find_weights(command.model, "");
  const auto& folder = recipe.save.folder;
  const auto newest = std::filesystem::is_directory(folder) ? checkpoint::newest_run_checkpoint(folder) : std::nullopt;
  require(newest.has_value(), train::where(recipe.tree, "save_folder"), folder.string(),
          " holds no checkpoint to evaluate; give --model, or the save_folder of a run");
  return *newest;
}

void run_evaluate(const EvaluateCommand& command, const Globals& globals) {
  const auto recipe = train::read_recipe(command.recipe, command.overrides, {.allow_unknown = command.allow_unknown});
  if (!recipe.warning.empty()) io::warn(recipe.warning);
  set_device_of(recipe, globals);
  const auto weights = weights_of(command, recipe);
  io::install_interrupt_handlers();
  const auto evaluations = train::evaluate_model(recipe, *train::make_task(recipe), weights, train::Processes());
  require(!io::interrupted(), "stopped; nothing is printed of an evaluation that is not complete");
  if (globals.json) {
    io::Tree tree = evaluation_tree(evaluations);
    tree.set("model", weights.string());
    std::cout << io::to_json(tree) << "\n";
  } else {
    std::cout << weights.string() << ": " << evaluation_text(evaluations) << " (" << io::show_count(uint64_t(evaluations.front().samples))
              << " samples)\n";
  }
}

}  // namespace

Run evaluate_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<EvaluateCommand>();
  app.add_option("recipe", command->recipe, "Recipe (YAML); its eval_loader names the data")->required()->type_name("RECIPE");
  app.add_option("overrides", command->overrides, "Values in place of the recipe's: eval_loader.dataset.local=other-data")
      ->type_name("KEY=VALUE");
  app.add_option("--model", command->model,
                 "Checkpoint, model folder, folder of a run, or ORG/NAME[@REVISION] on the hub\n"
                 "(default: the newest checkpoint in the recipe's save_folder)")
      ->type_name("MODEL");
  app.add_flag("--allow-unknown", command->allow_unknown, "Ignore keys that look like misspelt ones");
  return [command, &globals] { run_evaluate(*command, globals); };
}

}  // namespace m2bert::cli
