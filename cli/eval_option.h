#pragma once
// What the subcommands of eval share: the model and its cache, and how results are shown.
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/model_option.h"
#include "m2bert/eval/results.h"
#include "m2bert/eval/vector_cache.h"

namespace m2bert::cli {

// The model whose vectors are evaluated.
struct EvalModelOption {
  ModelOption model;
  BatchOption batch;
  std::string pooling, cache;
  int dimensions = 0;  // 0: all of the model's
  bool normalize = false, no_normalize = false;
};

// Adds --model and what goes with it, --pooling, --dimensions, --normalize, --no-normalize, --max-length and its like, and --cache.
void add_eval_model_options(CLI::App& app, EvalModelOption& option);
infer::Embedder make_embedder(const EvalModelOption& option);
// Everything that the embedder's vectors depend on, apart from texts and prompt; for eval::CachedEmbedder.
io::Tree vector_settings(const infer::Embedder& embedder);
// What of these the results show: the model as it was named, pooling, maximum length, dtype ...
io::Tree shown_settings(const EvalModelOption& option, const io::Tree& vector_settings);

// A prompt: the name of one of the model's prompts, or the text itself; nullopt if it is not given.
void add_prompt_option(CLI::App& app, const std::string& name, std::optional<std::string>& prompt, const std::string& what);
// The text of a prompt that is given; otherwise that of the first of these names that the model has, else of the model's default prompt.
std::string prompt_of(const infer::Embedder& embedder, const std::optional<std::string>& given, const std::vector<std::string>& names = {});

// How results are computed and shown.
struct ResultOption {
  bool markdown = false, overwrite = false;
  std::string page;
  int resamples = 1000;  // of the bootstrap; 0: no intervals
  uint64_t seed = 0;

  // The settings of the bootstrap; nullopt: no intervals.
  std::optional<metrics::Bootstrap> bootstrap() const;
};

// Adds --markdown, --page, --overwrite, --resamples and --seed.
void add_result_options(CLI::App& app, ResultOption& option);
// Error, before any work, for a --page that would replace another file or what the command reads.
void check_results(const ResultOption& option, const std::vector<std::string>& read);
// Adds --resamples and --seed to the settings, writes the page, if one is asked for, and prints the table, or JSON with --json. more: see
// eval::results_page.
void show_results(eval::Results results, const ResultOption& option, const Globals& globals, const std::string& more = "");

}  // namespace m2bert::cli
