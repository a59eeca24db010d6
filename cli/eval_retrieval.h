#pragma once
// What eval beir and eval loco share: a model and BM25 on the same retrieval sets.
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/eval_option.h"
#include "m2bert/eval/retrieval.h"

namespace m2bert::cli {

struct RetrievalOption {
  EvalModelOption model;
  ResultOption results;
  std::vector<std::string> folders;
  std::optional<std::string> query_prompt, passage_prompt;
  std::string measure, title = "auto", split = "test", missing = "error", analyzer = "english", cutoffs = "1,3,5,10,100", run, bm25_run;
  double k1 = 0.9, b = 0.4;
  bool skip_bad = false, keep_own_id = false, no_bm25 = false, bm25_only = false;
};

// Adds all options; `folders` describes the positional argument.
void add_retrieval_options(CLI::App& app, RetrievalOption& option, const std::string& folders);

// Reads the sets with `read`, evaluates them one after the other, and shows the results.
void run_retrieval(const RetrievalOption& option, const Globals& globals, const std::function<std::vector<data::RetrievalSet>()>& read);

}  // namespace m2bert::cli
