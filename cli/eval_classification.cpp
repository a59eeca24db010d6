// m2bert eval classification: what a logistic regression on the vectors learns from few examples.
#include "m2bert/eval/classification.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>

#include "cli/choice.h"
#include "cli/eval.h"
#include "cli/eval_texts.h"
#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"

namespace m2bert::cli {
namespace {

namespace fs = std::filesystem;

struct ClassificationCommand {
  EvalTextsOption texts;
  eval::FewShotOptions few_shot;
  std::string train = "train", test = "test";
};

// A folder's two files.
struct LabelledFolder {
  std::string name;
  data::LabelledData train, test;
};

bool is_table_or_lines(const std::string& name) {
  for (const char* ending : {".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"})
    for (const char* compression : {"", ".gz", ".zst"})
      if (name.ends_with(std::string(ending) + compression)) return true;
  return false;
}

// The file of a split, such as test.jsonl.
std::string split_file(const fs::path& folder, const std::string& split) {
  require(fs::is_directory(folder), folder.string(), ": is no folder; it wants one with ", split, ".jsonl or a table of that name");
  std::set<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (const std::string name = entry.path().filename().string(); name.starts_with(split + ".") && is_table_or_lines(name))
      found.insert(name);
  require(!found.empty(), folder.string(), ": has no ", split, ".jsonl, ", split, ".csv, ", split, ".tsv or ", split, ".parquet");
  require(found.size() == 1, folder.string(), ": has both ", *found.begin(), " and ", *found.rbegin(), "; keep one of them");
  return (folder / *found.begin()).string();
}

LabelledFolder read_folder(const std::string& folder, const ClassificationCommand& command) {
  data::LabelledOptions options = labelled_options(command.texts);
  options.kind = data::LabelKind::single;
  LabelledFolder out;
  const fs::path path = fs::path(folder).lexically_normal();
  out.name = (path.has_filename() ? path : path.parent_path()).filename().string();
  out.train = read_labelled_file(split_file(folder, command.train), options);
  data::require_every_label(out.train);
  options.label_names = out.train.label_names;
  out.test = read_labelled_file(split_file(folder, command.test), options);
  for (const auto* data : {&out.train, &out.test})
    require(!data->are_pairs(), data->name, ": has pairs of texts; name the column of the text to classify with --text-field");
  return out;
}

// The vectors of the training texts that any experiment uses; all others stay 0.
std::vector<float> train_vectors(const LabelledFolder& folder, const std::vector<std::vector<size_t>>& shots, const TextVectors& vectors) {
  std::set<size_t> used;
  for (const auto& indices : shots) used.insert(indices.begin(), indices.end());
  std::vector<std::string> texts;
  for (const size_t i : used) texts.push_back(folder.train.texts[i]);
  const auto some = vectors(folder.name + ", training texts", texts);
  std::vector<float> all(folder.train.size() * vectors.dim());
  size_t row = 0;
  for (const size_t i : used)
    std::copy_n(some.begin() + static_cast<std::ptrdiff_t>(row++ * vectors.dim()), vectors.dim(),
                all.begin() + static_cast<std::ptrdiff_t>(i * vectors.dim()));
  return all;
}

eval::ResultRow row_of(const LabelledFolder& folder, const TextVectors& vectors, const ClassificationCommand& command) {
  const auto shots = eval::draw_few_shots(folder.train.labels, command.few_shot);
  const auto train = train_vectors(folder, shots, vectors), test = vectors(folder.name, folder.test.texts);
  const auto classes = static_cast<int>(folder.train.label_names.size());
  return {{folder.name},
          eval::few_shot_scores({train, folder.train.labels}, shots, {test, folder.test.labels}, vectors.dim(), classes,
                                command.few_shot.regression, command.texts.results.bootstrap()),
          {{"classes", classes}, {"texts", static_cast<int64_t>(folder.test.size())}}};
}

void run_classification(const ClassificationCommand& command, const Globals& globals) {
  check_eval_texts(command.texts);
  io::install_interrupt_handlers();
  std::vector<LabelledFolder> folders;
  for (const std::string& folder : command.texts.inputs) folders.push_back(read_folder(folder, command));
  const TextVectors vectors(command.texts);
  eval::Results results = vectors.results("Classification", {"data set"});
  results.settings.set("train_split", command.train);
  results.settings.set("split", command.test);
  results.settings.set("samples_per_label", command.few_shot.samples_per_label);
  results.settings.set("experiments", command.few_shot.experiments);
  results.settings.set("max_iterations", command.few_shot.regression.solver.max_iterations);
  for (const LabelledFolder& folder : folders) results.rows.push_back(row_of(folder, vectors, command));
  show_results(results, command.texts.results, globals);
}

}  // namespace

Run eval_classification(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<ClassificationCommand>();
  add_eval_texts_options(app, command->texts, "DIR", "Folders with train.jsonl and test.jsonl (or .csv, .tsv, .parquet): text and label",
                         false, "the label");
  app.add_option("--train-split", command->train, "Name of the file of examples")->type_name("NAME")->capture_default_str();
  app.add_option("--split", command->test, "Name of the file that is scored")->type_name("NAME")->capture_default_str();
  add_number(app, "--samples-per-label", command->few_shot.samples_per_label, 1, 1 << 30, "Examples of each label in an experiment")
      ->capture_default_str();
  add_number(app, "--experiments", command->few_shot.experiments, 1, 1 << 16, "Experiments, each with other examples (--seed)")
      ->capture_default_str();
  add_number(app, "--max-iterations", command->few_shot.regression.solver.max_iterations, 1, 1 << 20, "Iterations of L-BFGS")
      ->capture_default_str();
  return [command, &globals] {
    command->few_shot.seed = command->texts.results.seed;
    run_classification(*command, globals);
  };
}

}  // namespace m2bert::cli
