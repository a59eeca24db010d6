// m2bert finetune classify: a classifier or a regressor from labelled texts.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <memory>
#include <sstream>

#include "cli/choice.h"
#include "cli/finetune.h"
#include "cli/launch.h"
#include "cli/training_run.h"
#include "m2bert/checkpoint/run_checkpoints.h"
#include "m2bert/data/labelled_batches.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/log.h"
#include "m2bert/io/utf8.h"
#include "m2bert/tasks/classification.h"
#include "m2bert/train/base_model.h"
#include "m2bert/train/classification_page.h"
#include "m2bert/train/report.h"

namespace m2bert::cli {
namespace {

namespace fs = std::filesystem;

struct ClassifyTraining {
  const CLI::App* app = nullptr;
  std::string model, config, tokenizer, train, eval, output;
  std::string text_column, text_pair_column, label_column, kind, labels, separator = ",", format = "auto", delimiter;
  bool skip_bad = false, resume = false, overwrite = false;
  int max_length = 0, epochs = 3, batch_size = 32, patience = 0;
  double lr = 5e-5, weight_decay = 0.01, layer_decay = 1;
  std::string freeze, class_weights = "none", metric, precision = "fp32";
  uint64_t seed = 17;
  TrainingOptions options;
};

// "A,B,...". A name in double quotes may have commas: "\"New York, NY\",Boston".
std::vector<std::string> names_in(const std::string& list) {
  std::vector<std::string> names;
  std::istringstream in(list);
  while (in >> std::ws && in.peek() != std::istringstream::traits_type::eof()) {
    std::string name, behind;
    if (in.peek() == '"' && !(in >> std::quoted(name))) throw UsageError("--labels: a quote is not closed in " + list);
    std::getline(in, behind, ',');
    CLI::detail::trim(behind);
    if (!name.empty() && !behind.empty()) throw UsageError("--labels: wants a comma after \"" + name + "\", got " + behind);
    names.push_back(name.empty() ? behind : name);
  }
  return names;
}

data::LabelledOptions labelled_options(const ClassifyTraining& c) {
  data::LabelledOptions options;
  options.source.format = data::parse_format(c.format);
  if (!c.delimiter.empty()) options.source.delimiter = data::parse_delimiter(c.delimiter);
  options.source.skip_bad = c.skip_bad;
  options.text = c.text_column;
  options.text_pair = c.text_pair_column;
  options.label = c.label_column;
  options.separator = c.separator;
  if (c.kind == "single") options.kind = data::LabelKind::single;
  if (c.kind == "multi") options.kind = data::LabelKind::multi;
  if (c.kind == "number") options.kind = data::LabelKind::number;
  if (!c.labels.empty()) options.label_names = names_in(c.labels);
  return options;
}

const char* name_of(data::LabelKind kind) {
  return kind == data::LabelKind::single ? "single" : kind == data::LabelKind::multi ? "multi" : "number";
}

const char* default_metric(data::LabelKind kind) {
  if (kind == data::LabelKind::number) return "SpearmanCorrCoef";
  return kind == data::LabelKind::multi ? "MultilabelF1Score" : "MulticlassAccuracy";
}

io::Tree names_tree(const std::vector<std::string>& names) {
  io::Tree list = io::Tree::list();
  for (const auto& name : names) list.push_back(name);
  return list;
}

io::Tree loader_tree(const ClassifyTraining& c, const std::string& file, const data::LabelledData& data, const std::string& tokenizer,
                     bool training) {
  io::Tree loader{{"name", "labelled"}, {"file", fs::absolute(file).string()}, {"kind", name_of(data.kind)}};
  for (const auto& [key, value] : {std::pair{"text_column", c.text_column},
                                   {"text_pair_column", c.text_pair_column},
                                   {"label_column", c.label_column},
                                   {"delimiter", c.delimiter}}) {
    if (!value.empty()) loader.set(key, value);
  }
  if (c.format != "auto") loader.set("format", c.format);
  if (data.kind == data::LabelKind::multi) loader.set("separator", c.separator);
  if (!data.label_names.empty()) loader.set("labels", names_tree(data.label_names));
  if (c.skip_bad) loader.set("skip_bad", true);
  loader.set("tokenizer_name", tokenizer);
  if (training) loader.set("shuffle", true);
  return loader;
}

// n / (labels * n of the label): every label counts alike. Source: class_weight="balanced" of scikit-learn.
io::Tree balanced_weights(const data::LabelledData& data) {
  io::Tree weights = io::Tree::list();
  const auto counts = data::label_counts(data);
  for (const auto count : counts) weights.push_back(double(data.size()) / (double(counts.size()) * double(count)));
  return weights;
}

io::Tree task_tree(const ClassifyTraining& c, const data::LabelledData& data) {
  io::Tree task{{"name", "classification"}};
  if (c.class_weights == "none") return task;
  require(data.kind == data::LabelKind::single, "--class-weights is for texts with one label each");
  task.set("class_weights", balanced_weights(data));
  return task;
}

io::Tree model_tree(const train::BaseModel& base, const data::LabelledData& data) {
  io::Tree model = train::model_tree(base);
  io::Tree& config = *model.as_map().find("model_config");
  config.set("problem_type", train::problem_type_of(data.kind));
  if (data.kind == data::LabelKind::number) config.set("num_labels", 1);
  io::Tree names = io::Tree::map();
  for (size_t i = 0; i < data.label_names.size(); ++i) names.set(std::to_string(i), data.label_names[i]);
  if (!data.label_names.empty()) config.set("id2label", names);
  return model;
}

// A number of layers, or one of the recipe's words.
io::Tree freeze_tree(const ClassifyTraining& c) {
  const bool digits = c.freeze.size() <= 6 && std::ranges::all_of(c.freeze, [](char ch) { return ch >= '0' && ch <= '9'; });
  if (digits) return std::stoi(c.freeze);
  if (c.freeze != "embeddings" && c.freeze != "encoder") {
    throw UsageError("--freeze: wants encoder, embeddings or a number of layers, got '" + c.freeze + "'");
  }
  return c.freeze;
}

// The folder of the run: runs/TRAIN, after the file of the training data, if none is given.
std::string folder_of(const ClassifyTraining& c) {
  if (!c.output.empty()) return c.output;
  return "runs/" + fs::path(c.train).stem().string();
}

io::Tree recipe_tree(const ClassifyTraining& c, const train::BaseModel& base, const data::LabelledData& data) {
  const std::string folder = folder_of(c);
  io::Tree recipe{{"run_name", fs::path(folder).filename().string()},
                  {"seed", c.seed},
                  {"precision", c.precision},
                  {"max_seq_len", c.max_length > 0 ? c.max_length : base.max_length},
                  {"task", task_tree(c, data)},
                  {"model", model_tree(base, data)},
                  {"load_path", base.path.string()},
                  {"load_weights_only", true},
                  {"train_loader", loader_tree(c, c.train, data, base.tokenizer, true)}};
  if (!c.eval.empty()) recipe.set("eval_loader", loader_tree(c, c.eval, data, base.tokenizer, false));
  recipe.set("global_train_batch_size", c.batch_size);
  recipe.set("device_train_microbatch_size", "auto");
  recipe.set("device_eval_batch_size", c.batch_size);
  recipe.set("max_duration", std::to_string(c.epochs) + "ep");
  recipe.set("eval_interval", "1ep");
  recipe.set("optimizer", io::Tree{{"name", "adamw"}, {"lr", c.lr}, {"weight_decay", c.weight_decay}, {"layer_decay", c.layer_decay}});
  recipe.set("scheduler", io::Tree{{"name", "linear_decay_with_warmup"}, {"t_warmup", "0.06dur"}, {"alpha_f", 0.0}});
  recipe.set("algorithms", io::Tree{{"gradient_clipping", io::Tree{{"clipping_type", "norm"}, {"clipping_threshold", 1.0}}}});
  recipe.set("callbacks", io::Tree{{"lr_monitor", io::Tree::map()}, {"speed_monitor", io::Tree{{"window_size", 20}}}});
  if (!c.freeze.empty()) recipe.set("freeze", freeze_tree(c));
  if (!c.eval.empty()) recipe.set("metric_for_best_model", c.metric.empty() ? default_metric(data.kind) : c.metric);
  if (c.patience > 0) recipe.set("early_stopping_patience", c.patience);
  recipe.set("save_folder", folder);
  recipe.set("save_interval", "1ep");
  recipe.set("save_num_checkpoints_to_keep", 1);
  recipe.set("save_overwrite", c.overwrite);
  recipe.set("autoresume", c.resume);
  return recipe;
}

// Several labels in a string are only divided where --kind says so.
void note_joined_labels(const ClassifyTraining& c, const data::LabelledData& data) {
  if (!c.kind.empty() || data.kind != data::LabelKind::single) return;
  const auto joined =
      std::ranges::find_if(data.label_names, [&](const std::string& name) { return name.find(c.separator) != std::string::npos; });
  if (joined != data.label_names.end())
    io::warn(data.name, ": \"", io::printable(*joined, 60), "\" is one label; with --kind multi, strings are divided into several at \"",
             c.separator, "\"");
}

// Tables that other programs wrote may have the names of missing values as text.
void note_missing_labels(const data::LabelledData& data) {
  for (const char* missing : {"nan", "NaN", "None", "null", "NULL", "NA", "N/A", "<NA>"})
    if (std::ranges::count(data.label_names, missing) > 0)
      io::warn(data.name, ": \"", missing, "\" is taken as the name of a label; leave these texts out if it stands for a missing one");
}

// Learns labels and their kind from the training data.
io::Tree recipe_of(const ClassifyTraining& c) {
  const auto data = data::read_labelled(c.train, labelled_options(c));
  data::require_every_label(data);
  note_joined_labels(c, data);
  note_missing_labels(data);
  train::BaseModelOptions base;
  if (!c.config.empty()) base.config = c.config;
  if (!c.tokenizer.empty()) base.tokenizer = c.tokenizer;
  const train::BaseModel model = train::find_base_model(c.model, base);
  const int longest = model.config.max_length();
  require(c.max_length <= longest, "--max-length ", c.max_length, ": ", c.model, " has ", longest, " positions; give ", longest,
          " or less");
  return recipe_tree(c, model, data);
}

// In the order of the texts.
tasks::Predictions sorted_predictions(const tasks::Predictions& gathered, const std::vector<uint32_t>& order) {
  tasks::Predictions sorted{gathered.width, gathered.logits, gathered.targets};
  const size_t width = size_t(gathered.width), targets = gathered.targets.size() / order.size();
  for (size_t i = 0; i < order.size(); ++i) {
    std::copy_n(gathered.logits.begin() + std::ptrdiff_t(i * width), width, sorted.logits.begin() + std::ptrdiff_t(order[i] * width));
    std::copy_n(gathered.targets.begin() + std::ptrdiff_t(i * targets), targets,
                sorted.targets.begin() + std::ptrdiff_t(order[i] * targets));
  }
  return sorted;
}

// The texts of the evaluation, which a run does not keep; nullopt, with a warning, if the file has fewer by now.
std::optional<data::LabelledData> evaluated_texts(const train::Recipe& recipe, const train::RunResult& result) {
  auto data = train::read_texts(*recipe.eval_loaders.front().labelled, recipe.model);
  if (int64_t(data.size()) >= result.evaluations.front().samples) return data;
  io::warn(data.name, ": has changed since it was evaluated; the report has no confusion matrix and no wrong examples");
  return std::nullopt;
}

// report.html and wrong.jsonl in the folder of the run.
void write_report(const train::Recipe& recipe, const tasks::Task& task, const train::RunResult& result) {
  train::ReportOptions options;
  options.title = recipe.run_name;
  const auto* classification = dynamic_cast<const tasks::Classification*>(&task);
  const auto data = classification && !result.evaluations.empty() ? evaluated_texts(recipe, result) : std::nullopt;
  if (data) {
    const auto order =
        data::gathered_order(uint64_t(result.evaluations.front().samples), {int(recipe.global_eval_batch), 0, result.processes});
    const auto predictions = sorted_predictions(classification->predictions_of(result.evaluations.front().predictions), order);
    const auto wrong = train::wrong_examples(*data, classification->problem(), predictions);
    options.more = train::classification_html(*data, classification->problem(), predictions, wrong);
    io::write_file(result.folder / "wrong.jsonl", train::wrong_examples_jsonl(*data, wrong));
  }
  io::write_file(result.folder / "report.html", train::report_html({train::read_run(result.folder)}, options));
  io::info("report: ", (result.folder / "report.html").string());
}

// Error unless a new run may be written there. Keys of the recipe may say otherwise.
void require_free_folder(const ClassifyTraining& c) {
  const auto says = [](const std::string& o) { return o.starts_with("save_") || o.starts_with("autoresume="); };
  if (c.resume || c.overwrite || std::ranges::any_of(c.options.overrides, says) || !fs::is_directory(folder_of(c))) return;
  require(checkpoint::run_checkpoints(folder_of(c)).empty(), folder_of(c),
          " holds checkpoints of an earlier run; --resume goes on with it, --overwrite replaces it, --output names another folder");
}

void run_classify_training(const ClassifyTraining& c, const Globals& globals) {
  if (c.eval.empty() && (c.patience > 0 || !c.metric.empty())) throw UsageError("--patience and --metric need --eval");
  if (c.resume && c.overwrite) throw UsageError("--resume goes on with the run in the folder, --overwrite replaces it; give one of them");
  const io::Tree recipe = recipe_of(c);
  require_free_folder(c);
  TrainingCommand training;
  training.options = c.options;
  training.words = words_of(*c.app);
  training.read = [&](const train::RecipeOptions& options) {
    return train::read_generated_recipe(recipe, "finetune classify", c.options.overrides, options);
  };
  training.resume = "--resume";
  training.shows_recipe = false;
  training.finish = write_report;
  run_training(training, globals);
}

void add_data_options(CLI::App& app, ClassifyTraining& c) {
  app.add_option("--train", c.train, "Labelled texts: CSV, TSV, JSON lines or Parquet")->required()->type_name("FILE");
  app.add_option("--eval", c.eval, "Labelled texts to evaluate on after each epoch; the best model is kept")->type_name("FILE");
  app.add_option("--text-column", c.text_column, "Column or key of the texts (default: text, sentence, ...)")->type_name("NAME");
  app.add_option("--text-pair-column", c.text_pair_column, "Column or key of the second text of a pair")->type_name("NAME");
  app.add_option("--label-column", c.label_column, "Column or key of the labels (default: label, labels, score, ...)")->type_name("NAME");
  add_choice(app, "--kind", c.kind, {"single", "multi", "number"},
             "One label a text, any number of them, or a number\n(default: as the data look)");
  app.add_option("--labels", c.labels,
                 "Names of the labels, in the order of the outputs (default: those of --train, sorted);\n"
                 "a name with commas is quoted: '\"New York, NY\",Boston'")
      ->type_name("A,B,...");
  app.add_option("--separator", c.separator, "What divides several labels in a string")->capture_default_str()->type_name("TEXT");
  add_choice(app, "--format", c.format, {"auto", "jsonl", "csv", "tsv", "parquet"}, "Format of the files (auto: by their names)")
      ->capture_default_str();
  app.add_option("--delimiter", c.delimiter, "What divides the columns of a table: one character, \\t for a tab")->type_name("CHAR");
  app.add_flag("--skip-bad", c.skip_bad, "Pass over records that cannot be used, and count them");
}

void add_training_settings(CLI::App& app, ClassifyTraining& c) {
  add_number(app, "--max-length", c.max_length, 3, 1 << 20, "Tokens to which texts are truncated (default: the model's)");
  add_number(app, "--epochs", c.epochs, 1, 1000000, "Passes over the training data")->capture_default_str();
  add_number(app, "--batch-size", c.batch_size, 1, 1 << 20, "Texts an update")->capture_default_str();
  add_number(app, "--lr", c.lr, 0.0, 1e3, "Highest learning rate")->capture_default_str();
  add_number(app, "--weight-decay", c.weight_decay, 0.0, 1e3, "Weight decay of AdamW")->capture_default_str();
  add_number(app, "--layer-decay", c.layer_decay, 1e-6, 1.0, "Learning rate of each layer over that of the layer above it")
      ->capture_default_str();
  app.add_option("--freeze", c.freeze, "What is not trained: embeddings, encoder, or the first N layers")
      ->type_name("encoder|embeddings|N");
  add_choice(app, "--class-weights", c.class_weights, {"none", "balanced"}, "balanced: rare labels count as much as frequent ones")
      ->capture_default_str();
  app.add_option("--metric", c.metric,
                 "Metric of --eval by which the best model is chosen\n(default: MulticlassAccuracy, MultilabelF1Score or SpearmanCorrCoef)")
      ->type_name("NAME");
  add_number(app, "--patience", c.patience, 1, 1000000, "Stop after N evaluations without a better one");
  add_choice(app, "--precision", c.precision, {"fp32", "amp_bf16"}, "Of the forward and backward pass")->capture_default_str();
  add_number(app, "--seed", c.seed, uint64_t{0}, uint64_t{1} << 53, "Of the new head, the order of the texts and dropout")
      ->capture_default_str();
}

}  // namespace

Run finetune_classify_command(CLI::App& finetune, const Globals& globals) {
  CLI::App* app = finetune.add_subcommand("classify", "Train a classifier or a regressor on labelled texts");
  const auto c = std::make_shared<ClassifyTraining>();
  c->app = app;
  app->add_option("model", c->model, "Model folder, checkpoint, folder of a run, or ORG/NAME[@REVISION] on the hub")
      ->required()
      ->type_name("MODEL");
  app->add_option("--config", c->config, "Configuration of a checkpoint file: YAML recipe or config.json")->type_name("FILE");
  app->add_option("--tokenizer", c->tokenizer, "Tokenizer, if not the model's: vocab.txt, tokenizer.json or a folder")->type_name("PATH");
  app->add_option("-o,--output", c->output, "Folder of the run; the model is in its model/ (default: runs/TRAIN)")->type_name("DIR");
  app->add_flag("--resume", c->resume, "Go on with a run that was stopped");
  app->add_flag("--overwrite", c->overwrite, "Replace the checkpoints of an earlier run in the folder");
  add_data_options(*app, *c);
  add_training_settings(*app, *c);
  add_training_options(*app, c->options);
  app->footer("\nExample:\n  m2bert finetune classify models/m2-bert-80M-128 --train train.csv --eval eval.csv -o runs/topics\n");
  return [c, &globals] { run_classify_training(*c, globals); };
}

}  // namespace m2bert::cli
