#include "cli/eval_texts.h"

#include <CLI/CLI.hpp>

#include "cli/choice.h"
#include "cli/text_option.h"
#include "m2bert/data/bad_record.h"
#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"

namespace m2bert::cli {

void add_eval_texts_options(CLI::App& app, EvalTextsOption& option, const std::string& input, const std::string& what, bool pairs,
                            const std::string& label) {
  app.add_option("inputs", option.inputs, what)->required()->type_name(input);
  add_eval_model_options(app, option.model);
  add_prompt_option(app, "--prompt", option.prompt, "Put in front of each text: a prompt's name or the text itself (default: the model's)");
  app.add_option("--text-field", option.text, pairs ? "Column or key of the first text" : "Column or key of the text")->type_name("NAME");
  if (pairs) app.add_option("--pair-field", option.pair, "Column or key of the second text")->type_name("NAME");
  app.add_option("--label-field", option.label, "Column or key of " + label)->type_name("NAME");
  add_choice(app, "--format", option.format, {"jsonl", "csv", "tsv"}, "Format of the files (default: by their extension)");
  app.add_option("--delimiter", option.delimiter, "What divides the columns of a table: one character, or \\t")->type_name("CHAR");
  app.add_flag("--no-quotes", option.no_quotes, "Tables: a quote is a character like any other, as in GLUE's files");
  app.add_flag("--skip-bad", option.skip_bad, "Pass over records that cannot be used, and count them");
  add_result_options(app, option.results);
}

void check_eval_texts(const EvalTextsOption& option) {
  check_results(option.results, option.inputs);
  (void)labelled_options(option);
}

data::LabelledOptions labelled_options(const EvalTextsOption& option) {
  data::LabelledOptions options{.text = option.text, .text_pair = option.pair, .label = option.label};
  if (!option.format.empty()) options.source.format = data::parse_format(option.format);
  if (!option.delimiter.empty()) options.source.delimiter = data::parse_delimiter(option.delimiter);
  options.source.quotes = !option.no_quotes;
  options.source.skip_bad = option.skip_bad;
  return options;
}

data::LabelledData read_labelled_file(const std::string& path, const data::LabelledOptions& options) {
  try {
    auto data = data::read_labelled(path, options);
    report_skipped(data.skipped, data.first_skipped);
    return data;
  } catch (const data::BadRecord& e) {
    fail(e.what(), skip_bad_remedy);
  }
}

TextVectors::TextVectors(const EvalTextsOption& option)
    : option_(option),
      embedder_(make_embedder(option.model)),
      cached_(embedder_, vector_settings(embedder_), option.model.cache),
      prompt_(prompt_of(embedder_, option.prompt)) {}

std::vector<float> TextVectors::operator()(const std::string& name, const std::vector<std::string>& texts) const {
  io::Progress progress(name + ": embed", {.unit = "texts", .total = texts.size()});
  auto block = cached_(texts, prompt_, [&](uint64_t done) { progress.update(done); });
  progress.finish();
  if (block.truncated > 0)
    io::info(name, ": ", block.truncated, " of ", texts.size(), " texts were truncated to ", embedder_.batcher().options().max_length,
             " tokens");
  return std::move(block.vectors);
}

eval::Results TextVectors::results(const std::string& title, const std::vector<std::string>& labels) const {
  eval::Results results;
  results.title = title;
  results.labels = labels;
  results.settings = shown_settings(option_.model, cached_.settings());
  results.settings.set("prompt", prompt_);
  return results;
}

}  // namespace m2bert::cli
