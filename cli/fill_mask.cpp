// m2bert fill-mask: predictions for [MASK].
#include "m2bert/infer/fill_mask.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/model_option.h"
#include "cli/number_text.h"
#include "cli/text_option.h"
#include "m2bert/io/json.h"

namespace m2bert::cli {
namespace {

struct FillMaskCommand {
  ModelOption model;
  TextOption input;
  BatchOption batch;
  int top_k = 5;
};

io::Tree result_tree(const std::vector<infer::FilledMask>& masks, size_t index) {
  io::Tree filled = io::Tree::list();
  for (const infer::FilledMask& mask : masks) {
    io::Tree guesses = io::Tree::list();
    for (const infer::Guess& guess : mask.guesses)
      guesses.push_back({{"token", guess.token}, {"id", guess.id}, {"probability", guess.probability}});
    filled.push_back({{"position", mask.position}, {"guesses", guesses}});
  }
  return {{"index", index}, {"masks", filled}};
}

void print_result(const std::vector<infer::FilledMask>& masks, const std::string& text) {
  std::cout << text << "\n";
  for (const infer::FilledMask& mask : masks) {
    std::cout << "  [MASK] at token " << mask.position << "\n";
    for (const infer::Guess& guess : mask.guesses) std::cout << "    " << fixed_text(guess.probability, 4) << "  " << guess.token << "\n";
  }
}

void run_fill_mask(const FillMaskCommand& command, const Globals& globals) {
  const AllTexts all = all_texts(command.input);
  const std::vector<std::string>& texts = all.texts;
  const infer::FillMask fill_mask(load_model(command.model, models::Head::masked_lm), batching(command.batch));
  const auto results = fill_mask(texts, command.top_k);
  for (size_t i = 0; i < texts.size(); ++i) {
    if (globals.json) std::cout << io::to_json(result_tree(results[i], all.indices[i])) << "\n";
    else print_result(results[i], texts[i]);
  }
}

}  // namespace

Run fill_mask_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<FillMaskCommand>();
  add_model_options(app, command->model);
  add_text_options(app, command->input);
  add_number(app, "--top-k", command->top_k, 1, 1 << 20, "Predictions for each [MASK]")->capture_default_str();
  add_batch_options(app, command->batch);
  return [command, &globals] { run_fill_mask(*command, globals); };
}

}  // namespace m2bert::cli
