#include "cli/eval_option.h"

#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/choice.h"
#include "cli/output_path.h"
#include "cli/quantizer_option.h"
#include "cli/text_option.h"
#include "cli/text_run.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/html_page.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/path.h"

namespace m2bert::cli {

void add_eval_model_options(CLI::App& app, EvalModelOption& option) {
  add_model_options(app, option.model);
  add_pooling_option(app, option.pooling);
  add_dimensions_option(app, option.dimensions);
  CLI::Option* normalize = app.add_flag("--normalize", option.normalize, "Scale vectors to length 1 (default: the model's)");
  app.add_flag("--no-normalize", option.no_normalize, "Do not scale vectors")->excludes(normalize);
  add_batch_options(app, option.batch);
  app.add_option("--cache", option.cache,
                 "Folder that keeps the vectors: a run that was stopped or killed, or the same\n"
                 "one again, then computes only what is missing")
      ->type_name("DIR");
}

infer::Embedder make_embedder(const EvalModelOption& option) {
  infer::EmbedOptions options = batching(option.batch);
  if (!option.pooling.empty()) options.pooling = models::poolings_named(option.pooling);
  if (option.dimensions > 0) options.dimensions = option.dimensions;
  if (option.normalize || option.no_normalize) options.normalize = option.normalize;
  options.prompt = "";  // each kind of text may have its own
  return infer::Embedder(load_model(option.model), options);
}

io::Tree vector_settings(const infer::Embedder& embedder) {
  io::Tree settings = row_settings("eval", embedder.pretrained(), embedder.batcher().options());
  settings.set("pooling", models::name(embedder.pooling()));
  settings.set("normalize", embedder.normalize());
  settings.set("normalize_cut", embedder.normalizes_cut());
  settings.set("dim", embedder.dim());
  return settings;
}

io::Tree shown_settings(const EvalModelOption& option, const io::Tree& vector_settings) {
  io::Tree settings = {{"model", option.model.model}};
  for (const char* key : {"pooling", "normalize", "dim", "max_length", "pad", "truncation_side", "dtype", "device", "program"})
    settings.set(key, vector_settings.at(key));
  return settings;
}

void add_prompt_option(CLI::App& app, const std::string& name, std::optional<std::string>& prompt, const std::string& what) {
  app.add_option(name, prompt, what)->type_name("TEXT");
}

std::string prompt_of(const infer::Embedder& embedder, const std::optional<std::string>& given, const std::vector<std::string>& names) {
  const auto& prompts = embedder.pretrained().prompts;
  if (given) return infer::prompt_text(embedder.pretrained(), given);
  for (const std::string& name : names)
    if (const auto found = prompts.find(name); found != prompts.end()) return found->second;
  return infer::prompt_text(embedder.pretrained(), std::nullopt);
}

void add_result_options(CLI::App& app, ResultOption& option) {
  app.add_flag("--markdown", option.markdown, "Print the table as Markdown");
  app.add_option("--page", option.page, "Write all scores as an HTML page")->type_name("FILE");
  app.add_flag("--overwrite", option.overwrite, "Replace output files (a page of this command is replaced without it)");
  add_number(app, "--resamples", option.resamples, 0, 1 << 20, "Samples of the bootstrap for the 95% intervals; 0: no intervals")
      ->capture_default_str();
  add_number(app, "--seed", option.seed, uint64_t{0}, UINT64_MAX, "Seed of these samples")->capture_default_str();
}

std::optional<metrics::Bootstrap> ResultOption::bootstrap() const {
  if (resamples == 0) return std::nullopt;
  return metrics::Bootstrap{.resamples = resamples, .seed = seed};
}

void check_results(const ResultOption& option, const std::vector<std::string>& read) {
  if (option.page.empty()) return;
  require_free(option.page, option.overwrite || io::is_page_of(option.page, eval::kPageGenerator));
  require_not_read(option.page, read);
  (void)io::writable_path(option.page);
}

void show_results(eval::Results results, const ResultOption& option, const Globals& globals, const std::string& more) {
  results.settings.set("resamples", option.resamples);
  results.settings.set("seed", option.seed);
  if (!option.page.empty()) io::write_file(option.page, eval::results_page(results, more));
  if (globals.json) std::cout << io::to_json(eval::results_json(results)) << "\n";
  else std::cout << (option.markdown ? eval::markdown_table(results) : eval::text_table(results));
}

}  // namespace m2bert::cli
