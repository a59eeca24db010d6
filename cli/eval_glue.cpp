// m2bert eval glue: a fine-tuned model on a task of GLUE.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/choice.h"
#include "cli/eval.h"
#include "cli/evaluation_text.h"
#include "cli/glue_predictions.h"
#include "m2bert/data/glue.h"
#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/train/base_model.h"

namespace m2bert::cli {
namespace {

namespace fs = std::filesystem;

struct EvalGlue {
  std::string model, config, tokenizer, data, task, submission, precision = "fp32";
  int max_length = 0, batch_size = 32;
};

void require_labels_of(const data::GlueTask& task, const train::BaseModel& base, const std::string& name) {
  const auto& labels = base.config.labels;
  const bool fits = labels.empty() ? base.config.num_labels == task.outputs() : labels == task.label_names;
  std::string wanted;
  for (const auto& label : task.label_names) wanted += (wanted.empty() ? "" : ", ") + label;
  require(fits, name, ": was not trained for ", task.name, ", whose labels are ", wanted.empty() ? "numbers" : wanted);
}

// A recipe whose model is this one, with the labels of the task.
io::Tree recipe_of(const EvalGlue& e, const data::GlueTask& task, const train::BaseModel& base) {
  io::Tree model = train::model_tree(base);
  io::Tree& config = *model.as_map().find("model_config");
  config.set("problem_type", task.is_regression() ? "regression" : "single_label_classification");
  config.set("num_labels", task.outputs());
  return io::Tree{{"max_seq_len", e.max_length > 0 ? e.max_length : base.max_length},
                  {"precision", e.precision},
                  {"task", "classification"},
                  {"model", model},
                  {"train_loader", io::Tree{{"name", "glue"}, {"folder", e.data}, {"task", task.name}, {"split", "train"}}},
                  {"global_train_batch_size", e.batch_size},
                  {"device_train_microbatch_size", e.batch_size},
                  {"device_eval_batch_size", e.batch_size},
                  {"max_duration", "1ep"},
                  {"optimizer", io::Tree{{"name", "adamw"}, {"lr", 1e-5}}},
                  {"scheduler", io::Tree{{"name", "constant_with_warmup"}, {"t_warmup", "0ba"}}}};
}

void run_eval_glue(const EvalGlue& e, const Globals& globals) {
  const auto& task = data::glue_task(e.task);
  require(data::GlueFolder(e.data).has(task), e.data, ": has no folder ", task.folder, " (official) or ", task.name, " (as on the hub)");
  io::install_interrupt_handlers();
  train::BaseModelOptions options;
  if (!e.config.empty()) options.config = e.config;
  if (!e.tokenizer.empty()) options.tokenizer = e.tokenizer;
  const auto base = train::find_base_model(e.model, options);
  require_labels_of(task, base, e.model);
  const io::Tree recipe = recipe_of(e, task, base);
  if (!e.submission.empty()) {
    fs::create_directories(e.submission);
    write_glue_predictions(recipe, base.path, e.data, task.name, e.submission);
    io::info("submission: ", e.submission);
  }
  std::vector<GlueTestSet> sets;
  for (const auto& split : task.evaluation) sets.push_back({task.name, split.name, ""});
  if (sets.empty()) {
    require(!e.submission.empty(), task.name, " has a test set without labels only: --submission writes what the model predicts");
    return;
  }
  auto evaluations = evaluate_glue(recipe, base.path, e.data, sets);
  for (size_t i = 0; i < evaluations.size(); ++i) evaluations[i].label = task.evaluation[i].label;
  require(!io::interrupted(), "stopped; nothing is printed of an evaluation that is not complete");
  if (globals.json) std::cout << io::to_json(evaluation_tree(evaluations)) << "\n";
  else std::cout << evaluation_text(evaluations) << "\n";
}

}  // namespace

Run eval_glue(CLI::App& app, const Globals& globals) {
  const auto e = std::make_shared<EvalGlue>();
  app.add_option("model", e->model, "Fine-tuned model: folder, checkpoint, folder of a run, or ORG/NAME[@REVISION] on the hub")
      ->required()
      ->type_name("MODEL");
  app.add_option("--config", e->config, "Configuration of a checkpoint file: YAML recipe or config.json")->type_name("FILE");
  app.add_option("--tokenizer", e->tokenizer, "Tokenizer, if not the model's: vocab.txt, tokenizer.json or a folder")->type_name("PATH");
  app.add_option("--data", e->data, "Folder with a folder a task: GLUE's own TSV files, or Parquet or JSON lines as on the hub")
      ->required()
      ->type_name("DIR");
  std::vector<std::string> names;
  for (const auto& task : data::glue_tasks()) names.push_back(task.name);
  add_choice(app, "--task", e->task, names, "The task")->required();
  add_number(app, "--max-length", e->max_length, 3, 1 << 20, "Tokens to which texts are truncated (default: the model's)");
  add_number(app, "--batch-size", e->batch_size, 1, 1 << 20, "Texts at a time")->capture_default_str();
  add_choice(app, "--precision", e->precision, {"fp32", "amp_bf16"}, "Arithmetic: float32, or bfloat16 as in training with amp_bf16")
      ->capture_default_str();
  app.add_option("--submission", e->submission, "Write the predictions for the test sets here, as GLUE's server wants them")
      ->type_name("DIR");
  return [e, &globals] { run_eval_glue(*e, globals); };
}

}  // namespace m2bert::cli
