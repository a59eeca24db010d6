// m2bert pretrain: a masked-language model from a recipe.
#include "m2bert/train/pretrain.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>
#include <memory>
#include <new>

#include "cli/command.h"
#include "cli/number_text.h"
#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"
#include "m2bert/io/yaml_writer.h"

namespace m2bert::cli {
namespace {

struct PretrainCommand {
  std::string recipe;
  std::vector<std::string> overrides;
};

io::Tree number(double value) { return std::isfinite(value) ? io::Tree(value) : io::Tree(); }

io::Tree result_tree(const train::PretrainResult& r) {
  io::Tree tree{{"folder", r.folder.string()}, {"model", r.model.string()}, {"parameters", r.parameters},
                {"batches", r.time.batch},     {"epochs", r.time.epoch},    {"samples", r.time.sample},
                {"tokens", r.time.token},      {"loss", number(r.loss)},    {"seconds", r.seconds}};
  if (!r.evaluation) return tree;
  const double cross_entropy = r.evaluation->cross_entropy.value();
  tree.set("evaluation", {{"cross_entropy", number(cross_entropy)},
                          {"perplexity", number(metrics::perplexity(cross_entropy))},
                          {"accuracy", number(r.evaluation->accuracy.value())},
                          {"samples", r.evaluation->samples}});
  return tree;
}

std::string result_text(const train::PretrainResult& r) {
  std::string text = "trained " + io::show_count(uint64_t(r.time.batch)) + " batches, " + io::show_count(uint64_t(r.time.token)) +
                     " tokens in " + io::show_duration(r.seconds);
  if (std::isfinite(r.loss)) text += ", last loss " + fixed_text(r.loss, 4);
  if (r.evaluation) {
    text += ", evaluation: cross entropy " + fixed_text(r.evaluation->cross_entropy.value(), 4) + ", accuracy " +
            fixed_text(r.evaluation->accuracy.value(), 4);
  }
  return text + "\nmodel: " + r.model.string();
}

void set_device(const train::Recipe& recipe, const Globals& globals) {
  if (!globals.device.empty() || recipe.device.empty()) return;
  const mx::Device device = recipe.device == "gpu" ? mx::Device::gpu : mx::Device::cpu;
  require(mx::is_available(device), "device: gpu in the recipe, but MLX finds no GPU here; device=cpu trains on the processor");
  mx::set_default_device(device);
}

train::PretrainResult run_recipe(const PretrainCommand& command, const Globals& globals) {
  const auto recipe = train::read_recipe(command.recipe, command.overrides);
  set_device(recipe, globals);
  io::info(io::to_yaml(recipe.tree));
  if (!recipe.warning.empty()) io::warn(recipe.warning);
  return train::pretrain(recipe, train::Processes());
}

void run_pretrain(const PretrainCommand& command, const Globals& globals) {
  io::install_interrupt_handlers();
  const auto result = [&] {
    try {
      return run_recipe(command, globals);
    } catch (const std::bad_alloc&) {
      fail("out of memory; lower device_train_microbatch_size (auto chooses one that fits)");
    }
  }();
  require(result.end == train::TrainingEnd::finished, "stopped after ", result.time.batch, " batches; they are saved in ",
          result.folder.string(), ", and the same command with autoresume=true goes on from there");
  if (globals.json) std::cout << io::to_json(result_tree(result)) << "\n";
  else std::cout << result_text(result) << "\n";
}

}  // namespace

Run pretrain_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<PretrainCommand>();
  app.add_option("recipe", command->recipe, "Recipe (YAML)")->required()->type_name("RECIPE");
  app.add_option("overrides", command->overrides, "Values in place of the recipe's: optimizer.lr=1e-4 max_duration=100ba")
      ->type_name("KEY=VALUE");
  return [command, &globals] { run_pretrain(*command, globals); };
}

}  // namespace m2bert::cli
