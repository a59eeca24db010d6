// m2bert eval beir: retrieval on folders in BEIR's layout.
#include <CLI/CLI.hpp>
#include <memory>

#include "cli/eval.h"
#include "cli/eval_retrieval.h"

namespace m2bert::cli {

Run eval_beir(CLI::App& app, const Globals& globals) {
  const auto option = std::make_shared<RetrievalOption>();
  add_retrieval_options(app, *option, "Folders of data sets: corpus.jsonl, queries.jsonl, qrels/");
  return [option, &globals] {
    run_retrieval(*option, globals, [&] {
      std::vector<data::RetrievalSet> sets;
      for (const std::string& folder : option->folders) sets.push_back(data::read_beir(folder, option->split, option->skip_bad));
      return sets;
    });
  };
}

}  // namespace m2bert::cli
