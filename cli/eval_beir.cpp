// m2bert eval beir: retrieval on folders in BEIR's layout.
#include <CLI/CLI.hpp>
#include <memory>

#include "cli/eval.h"
#include "cli/eval_option.h"
#include "m2bert/error.h"

namespace m2bert::cli {
namespace {

struct BeirCommand {
  EvalModelOption model;
  ResultOption results;
  std::vector<std::string> folders;
  std::optional<std::string> query_prompt, passage_prompt;
};

void run_beir(const BeirCommand& command, const Globals& globals) {
  check_results(command.results, command.folders);
  const infer::Embedder embedder = make_embedder(command.model);
  eval::Results results;
  results.title = "Retrieval";
  results.labels = {"data set", "system"};
  results.settings = shown_settings(command.model, embedder);
  show_results(results, command.results, globals);
}

}  // namespace

Run eval_beir(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<BeirCommand>();
  app.add_option("folders", command->folders, "Folders of data sets: corpus.jsonl, queries.jsonl, qrels/")->required()->type_name("DIR");
  add_eval_model_options(app, command->model);
  add_prompt_option(app, "--query-prompt", command->query_prompt, "Put in front of queries: a prompt's name or the text itself");
  add_prompt_option(app, "--passage-prompt", command->passage_prompt, "Put in front of passages");
  add_result_options(app, command->results);
  return [command, &globals] { run_beir(*command, globals); };
}

}  // namespace m2bert::cli
