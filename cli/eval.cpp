// m2bert eval: scores on the data of benchmarks. One file a subcommand, cli/eval_NAME.cpp.
#include "cli/eval.h"

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

namespace m2bert::cli {
namespace {

constexpr Command subcommands[] = {
    {"beir", "Retrieval: queries against a corpus, in BEIR's layout", "m2bert eval beir scifact nfcorpus --model MODEL --cache vectors",
     eval_beir},
    {"glue", "A fine-tuned model on a task of GLUE", "m2bert eval glue runs/rte/model --data glue_data --task rte", eval_glue},
    {"loco", "Retrieval of long documents: LoCo", "m2bert eval loco loco --model MODEL --cache vectors", eval_loco},
    {"sts", "Semantic textual similarity: pairs of texts with scores", "m2bert eval sts stsb-test.jsonl --model MODEL", eval_sts},
    {"classification", "Few-shot classification on vectors, as in MTEB", "m2bert eval classification banking77 --model MODEL",
     eval_classification},
    {"clustering", "Clusters of vectors (k-means) against known classes", "m2bert eval clustering newsgroups.jsonl --model MODEL",
     eval_clustering},
    {"mlm", "The masked-LM loss on the data of a recipe, without training", "m2bert eval mlm recipe.yaml --model runs/one", eval_mlm},
};

}  // namespace

Run eval_command(CLI::App& app, const Globals& globals) {
  app.require_subcommand(0, 1);
  std::vector<std::pair<std::string, Run>> runs;
  for (const Command& command : subcommands) {
    CLI::App* inner = app.add_subcommand(command.name, command.summary);
    inner->footer(std::string("\nExample:\n  ") + command.example + "\n");
    runs.emplace_back(command.name, command.setup(*inner, globals));
  }
  return [runs, &app] {
    for (const auto& [name, run] : runs)
      if (app.got_subcommand(name)) return run();
    std::string names;
    for (const auto& [name, run] : runs) names += (names.empty() ? "eval " : ", eval ") + name;
    throw UsageError("say what to evaluate: " + names);
  };
}

}  // namespace m2bert::cli
