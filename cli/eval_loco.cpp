// m2bert eval loco: retrieval of long documents, on LoCo's data.
#include <CLI/CLI.hpp>
#include <memory>

#include "cli/eval.h"
#include "cli/eval_retrieval.h"
#include "m2bert/data/loco.h"

namespace m2bert::cli {

Run eval_loco(CLI::App& app, const Globals& globals) {
  const auto option = std::make_shared<RetrievalOption>();
  add_retrieval_options(app, *option,
                        "Folders: what m2bert data loco makes, one of the data sets in it, or\n"
                        "LoCoV1's files as they are (queries.jsonl and documents.jsonl)");
  return [option, &globals] {
    run_retrieval(*option, globals, [&] {
      std::vector<data::RetrievalSet> sets;
      for (const std::string& folder : option->folders)
        for (data::RetrievalSet& set : data::find_loco(folder, option->split, option->skip_bad)) sets.push_back(std::move(set));
      return sets;
    });
  };
}

}  // namespace m2bert::cli
