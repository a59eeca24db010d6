// m2bert classify: labels and probabilities.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>

#include "cli/command.h"
#include "cli/model_option.h"
#include "cli/number_text.h"
#include "cli/text_option.h"
#include "m2bert/infer/classifier.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"

namespace m2bert::cli {
namespace {

using infer::Classifier;
using infer::ClassTask;

constexpr float multi_label_threshold = 0.5f;

struct ClassifyCommand {
  ModelOption model;
  TextOption input;
  BatchOption batch;
};

size_t best_of(std::span<const float> scores) {
  return static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

io::Tree result_tree(const Classifier& classifier, std::span<const float> scores, bool truncated, uint64_t index) {
  io::Tree all = io::Tree::map(), chosen = io::Tree::list();
  for (size_t i = 0; i < scores.size(); ++i) {
    all.set(classifier.labels()[i], scores[i]);
    if (scores[i] >= multi_label_threshold) chosen.push_back(classifier.labels()[i]);
  }
  io::Tree result = {{"index", index}, {"truncated", truncated}};
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
    text += (i == order.front() ? " " : ", ") + (regression && order.size() == 1 ? "" : classifier.labels()[i] + " ") +
            fixed_text(scores[i], 4);
  return text;
}

void run_classify(const ClassifyCommand& command, const Globals& globals) {
  check_texts(command.input);
  const Classifier classifier(load_model(command.model), batching(command.batch));
  const auto texts = open_texts(command.input);
  const infer::NextText next_text = [&](std::string& text) { return texts->next(text); };
  const size_t width = classifier.labels().size();
  uint64_t truncated = 0;
  const uint64_t count = classifier.batcher().for_each_window(next_text, [&](const infer::Window& window, uint64_t first) {
    const infer::Classes classes = classifier.classify(window, first);
    for (size_t row = 0; row < window.texts(); ++row) {
      const std::span<const float> scores(classes.scores.data() + row * width, width);
      const bool cut = classes.truncated[row] != 0;
      std::cout << (globals.json ? io::to_json(result_tree(classifier, scores, cut, first + row))
                                 : result_text(classifier, scores, first + row))
                << "\n";
      truncated += cut;
    }
  });
  if (truncated > 0) io::info(truncated, " of ", count, " texts were truncated to ", classifier.batcher().options().max_length, " tokens");
}

}  // namespace

Run classify_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<ClassifyCommand>();
  add_model_options(app, command->model);
  add_text_options(app, command->input);
  add_batch_options(app, command->batch);
  return [command, &globals] { run_classify(*command, globals); };
}

}  // namespace m2bert::cli
