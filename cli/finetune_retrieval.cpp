// m2bert finetune retrieval: an embedder from queries and the passages that answer them.
#include <CLI/CLI.hpp>
#include <memory>

#include "cli/finetune.h"
#include "cli/launch.h"
#include "cli/training_run.h"
#include "m2bert/io/file.h"
#include "m2bert/io/log.h"
#include "m2bert/io/yaml.h"
#include "m2bert/train/report.h"
#include "m2bert/train/retrieval_run.h"

namespace m2bert::cli {
namespace {

struct RetrievalTraining {
  const CLI::App* app = nullptr;
  std::string recipe;
  TrainingOptions options;
};

void write_report(const train::Recipe& recipe, const tasks::Task&, const train::RunResult& result) {
  const auto file = result.folder / "report.html";
  train::ReportOptions options;
  options.title = recipe.run_name;
  io::write_file(file, train::report_html({train::read_run(result.folder)}, options));
  io::info("report: ", file.string());
}

void run_retrieval_training(const RetrievalTraining& r, const Globals& globals) {
  std::unique_ptr<train::RetrievalRun> run;  // made once the recipe of this process is known
  TrainingCommand training;
  training.options = r.options;
  training.words = words_of(*r.app);
  training.read = [&](const train::RecipeOptions& options) {
    const auto tree = train::complete_retrieval_recipe(io::read_yaml(r.recipe, r.options.overrides));
    return train::read_recipe(tree, io::read_file(r.recipe), r.recipe, r.options.overrides, options);
  };
  training.task = [&](const train::Recipe& recipe) {
    run = std::make_unique<train::RetrievalRun>(recipe);
    training.hooks = run->hooks();
    return run->task();
  };
  training.finish = write_report;
  run_training(training, globals);
}

}  // namespace

Run finetune_retrieval_command(CLI::App& finetune, const Globals& globals) {
  CLI::App* app = finetune.add_subcommand("retrieval", "Train an embedder on queries and the passages that answer them");
  const auto r = std::make_shared<RetrievalTraining>();
  r->app = app;
  app->add_option("recipe", r->recipe, "YAML recipe")->required()->check(CLI::ExistingFile)->type_name("RECIPE");
  add_training_options(*app, r->options);
  app->footer(
      "\nThe model is in the folder of the run, in model/; embed, eval and sentence-transformers read it.\n\n"
      "Example:\n  m2bert finetune retrieval recipes/finetune/retrieval.yaml base_model=models/minilm train_loader.data=pairs.jsonl\n");
  return [r, &globals] { run_retrieval_training(*r, globals); };
}

}  // namespace m2bert::cli
