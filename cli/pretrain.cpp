// m2bert pretrain: a masked-language model from a recipe.
#include <CLI/CLI.hpp>
#include <memory>

#include "cli/command.h"
#include "cli/training_run.h"

namespace m2bert::cli {
namespace {

struct PretrainCommand {
  std::string recipe;
  TrainingOptions options;
};

void run_pretrain(const PretrainCommand& command, const Globals& globals) {
  TrainingCommand training;
  training.options = command.options;
  training.words = {"pretrain", command.recipe};
  training.read = [&](const train::RecipeOptions& options) {
    return train::read_recipe(command.recipe, command.options.overrides, options);
  };
  run_training(training, globals);
}

}  // namespace

Run pretrain_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<PretrainCommand>();
  app.add_option("recipe", command->recipe, "Recipe (YAML)")->required()->type_name("RECIPE");
  add_training_options(app, command->options);
  return [command, &globals] { run_pretrain(*command, globals); };
}

}  // namespace m2bert::cli
