// m2bert fill-mask: predictions for [MASK].
#include "m2bert/infer/fill_mask.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/model_option.h"
#include "cli/text_option.h"
#include "cli/text_run.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/number_text.h"

namespace m2bert::cli {
namespace {

struct FillMaskCommand {
  ModelOption model;
  TextOption input;
  BatchOption batch;
  OutputOption output;
  int top_k = 5;
};

using Masks = std::vector<infer::FilledMask>;

// What is said of a text without a mask.
std::string no_mask_text(const infer::FillMask& fill_mask) {
  return "no [MASK] within the first " + std::to_string(fill_mask.batcher().options().max_length) + " tokens";
}

io::Tree result_tree(const infer::FillMask& fill_mask, const Masks& masks, bool truncated, const io::Tree& head) {
  io::Tree filled = io::Tree::list();
  for (const infer::FilledMask& mask : masks) {
    io::Tree guesses = io::Tree::list();
    for (const infer::Guess& guess : mask.guesses)
      guesses.push_back({{"token", guess.token}, {"id", guess.id}, {"probability", guess.probability}});
    filled.push_back({{"position", mask.position}, {"guesses", guesses}});
  }
  io::Tree result = head;
  result.set("truncated", truncated);
  result.set("masks", filled);
  if (masks.empty()) result.set("error", no_mask_text(fill_mask));
  return result;
}

std::string result_text(const infer::FillMask& fill_mask, const Masks& masks, const std::string& text) {
  std::string lines = text + "\n";
  if (masks.empty()) lines += "  " + no_mask_text(fill_mask) + "\n";
  for (const infer::FilledMask& mask : masks) {
    lines += "  [MASK] at token " + std::to_string(mask.position) + "\n";
    for (const infer::Guess& guess : mask.guesses) lines += "    " + io::fixed_text(guess.probability, 4) + "  " + guess.token + "\n";
  }
  return lines;
}

Rows fill_window(const infer::FillMask& fill_mask, int top_k, bool json, const TextWindow& read) {
  const std::vector<Masks> results = fill_mask.fill(read.window, read.first, top_k, is_stopped);
  Rows rows;
  for (size_t row = 0; row < results.size(); ++row) {
    const Masks& masks = results[row];
    if (json) rows.bytes += io::to_json(result_tree(fill_mask, masks, read.window.truncated[row] != 0, read.heads[row])) + "\n";
    else rows.bytes += result_text(fill_mask, masks, read.texts[row]);
    rows.without_result += masks.empty();
  }
  return rows;
}

void run_fill_mask(const FillMaskCommand& command, const Globals& globals) {
  check_texts(command.input);
  check_output(command.output, {command.input.file, command.model.model, command.model.config, command.model.tokenizer});
  const bool json = writes_json_lines(command.output, globals);
  check_keep(command.input, json, {"index", "truncated", "masks", "error"});
  io::install_interrupt_handlers();
  const infer::FillMask fill_mask(load_model(command.model, models::Head::masked_lm), batching(command.batch));
  TextRun run{"fill-mask",    json ? "jsonl" : "text", command.input,
              command.output, fill_mask.batcher(),     row_settings("fill-mask", fill_mask.pretrained(), fill_mask.batcher().options())};
  run.settings.set("top_k", command.top_k);
  run.rows = [&](const TextWindow& read) { return fill_window(fill_mask, command.top_k, json, read); };
  const auto done = run_texts(run, globals);
  if (done && done->without_result > 0)
    io::warn(done->without_result, " of ", done->texts, " texts have ", no_mask_text(fill_mask), ", so nothing is predicted for them");
}

}  // namespace

Run fill_mask_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<FillMaskCommand>();
  add_model_options(app, command->model);
  add_text_options(app, command->input);
  add_keep_option(app, command->input, "input");
  add_number(app, "--top-k", command->top_k, 1, 1 << 20, "Predictions for each [MASK]")->capture_default_str();
  add_output_options(app, command->output, lines_output_help);
  add_batch_options(app, command->batch);
  return [command, &globals] { run_fill_mask(*command, globals); };
}

}  // namespace m2bert::cli
