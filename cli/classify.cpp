// m2bert classify: labels and probabilities.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "cli/command.h"
#include "cli/model_option.h"
#include "cli/text_option.h"
#include "cli/text_run.h"
#include "m2bert/infer/classifier.h"
#include "m2bert/io/hash.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/number_text.h"
#include "m2bert/io/utf8.h"

namespace m2bert::cli {
namespace {

using infer::Classifier;
using infer::ClassTask;

constexpr float multi_label_threshold = 0.5f;

struct ClassifyCommand {
  ModelOption model;
  TextOption input;
  BatchOption batch;
  OutputOption output;
};

size_t best_of(std::span<const float> scores) {
  return static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

io::Tree result_tree(const Classifier& classifier, std::span<const float> scores, bool truncated, const io::Tree& head) {
  io::Tree all = io::Tree::map(), chosen = io::Tree::list();
  for (size_t i = 0; i < scores.size(); ++i) {
    all.set(classifier.labels()[i], scores[i]);
    if (scores[i] >= multi_label_threshold) chosen.push_back(classifier.labels()[i]);
  }
  io::Tree result = head;
  result.set("truncated", truncated);
  if (classifier.task() == ClassTask::single_label) {
    result.set("label", classifier.labels()[best_of(scores)]);
    result.set("probability", scores[best_of(scores)]);
  }
  if (classifier.task() == ClassTask::multi_label) result.set("labels", chosen);
  result.set(classifier.task() == ClassTask::regression ? "values" : "probabilities", all);
  return result;
}

// "2: positive 0.981, negative 0.019", the likeliest first. For regression the values in order.
std::string result_text(const Classifier& classifier, std::span<const float> scores, uint64_t index) {
  std::vector<size_t> order(scores.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const bool regression = classifier.task() == ClassTask::regression;
  if (!regression) std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  std::string text = std::to_string(index + 1) + ":";
  for (const size_t i : order)
    text += (i == order.front() ? " " : ", ") + (regression && order.size() == 1 ? "" : io::printable(classifier.labels()[i]) + " ") +
            io::fixed_text(scores[i], 4);
  return text;
}

io::Tree settings_of(const Classifier& classifier) {
  io::Tree settings = row_settings("classify", classifier.pretrained(), classifier.batcher().options());
  io::Tree labels = io::Tree::list();
  for (const std::string& label : classifier.labels()) labels.push_back(label);
  settings.set("labels", io::hash128(io::to_json(labels)));
  return settings;
}

Rows rows_of(const Classifier& classifier, bool json, const TextWindow& read, infer::PassQueue& passes) {
  const infer::Classes classes = classifier.read(read.window, passes, read.first, is_stopped);
  const size_t width = classifier.labels().size();
  Rows rows;
  for (size_t row = 0; row < classes.truncated.size(); ++row) {
    const std::span<const float> scores(classes.scores.data() + row * width, width);
    rows.bytes += json ? io::to_json(result_tree(classifier, scores, classes.truncated[row] != 0, read.heads[row]))
                       : result_text(classifier, scores, read.heads[row].at("index").as<uint64_t>());
    rows.bytes += '\n';
  }
  return rows;
}

bool has_pairs(const TextOption& input) { return !input.pairs.empty() || !input.pair_field.empty(); }

void check_pairs(const TextOption& input) {
  for (const std::string& text : input.pairs) check_option_text("--text-pair", text);
  if (!input.pairs.empty() && input.pairs.size() != input.texts.size())
    throw UsageError("--text-pair is the second text of a --text: there are " + std::to_string(input.texts.size()) + " --text and " +
                     std::to_string(input.pairs.size()) + " --text-pair");
  if (input.pair_field.empty()) return;
  if (!input.texts.empty()) throw UsageError("--pair-field is for files: it does not go with --text, which has --text-pair");
  const std::string& file = input.file.empty() ? "-" : input.file;
  if (data::format_of(file, source_options(input).format) == data::Format::text)
    throw UsageError("--pair-field is for JSON lines and tables (--format jsonl, csv or tsv), and the input is text");
}

void run_classify(const ClassifyCommand& command, const Globals& globals) {
  check_texts(command.input);
  check_pairs(command.input);
  check_output(command.output, {command.input.file, command.model.model, command.model.config, command.model.tokenizer});
  const bool json = writes_json_lines(command.output, globals);
  check_keep(command.input, json, {"index", "truncated", "label", "probability", "probabilities", "labels", "values"});
  io::install_interrupt_handlers();
  const Classifier classifier(load_model(command.model), batching(command.batch));
  TextRun run{"classify", json ? "jsonl" : "text", command.input, command.output, classifier.batcher(), settings_of(classifier)};
  run.pairs = has_pairs(command.input);
  run.settings.set("pairs", run.pairs);
  infer::PassQueue passes = classifier.pass_queue();
  run.launch = [&](const TextWindow& read) { passes.add(read.window); };
  run.rows = [&](const TextWindow& read) { return rows_of(classifier, json, read, passes); };
  run_texts(run, globals);
}

}  // namespace

Run classify_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<ClassifyCommand>();
  add_model_options(app, command->model);
  add_text_options(app, command->input);
  app.add_option("--text-pair", command->input.pairs, "Second text of a pair, one for each --text")
      ->type_name("TEXT")
      ->expected(1)
      ->allow_extra_args(false)
      ->take_all();
  app.add_option("--pair-field", command->input.pair_field, "Key (JSON lines) or column (tables) that holds the second text of a pair")
      ->type_name("NAME");
  add_keep_option(app, command->input, "input");
  add_output_options(app, command->output, lines_output_help);
  add_batch_options(app, command->batch);
  return [command, &globals] { run_classify(*command, globals); };
}

}  // namespace m2bert::cli
