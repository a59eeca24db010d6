#include "cli/eval_retrieval.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <sstream>

#include "cli/choice.h"
#include "cli/output_path.h"
#include "cli/text_option.h"
#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/log.h"
#include "m2bert/io/path.h"
#include "m2bert/io/progress.h"
#include "m2bert/threads.h"

namespace m2bert::cli {
namespace {

constexpr size_t kMostCutoff = 1 << 20, kLeastDepth = 100;
constexpr int kTitleFrom = 512;  // tokens: with this maximum length and above, upstream puts the title before the text

std::string measure_of(const RetrievalOption& option, const infer::Embedder& embedder) {
  if (!option.measure.empty()) return option.measure;
  return embedder.pretrained().similarity.empty() ? "cosine" : embedder.pretrained().similarity;
}

bool with_title(const RetrievalOption& option, const infer::Embedder& embedder) {
  return option.title == "always" || (option.title == "auto" && embedder.batcher().options().max_length >= kTitleFrom);
}

eval::IndexOptions index_options(const RetrievalOption& option) {
  eval::IndexOptions options;
  options.bm25 = search::Bm25Options{option.k1, option.b, {option.analyzer == "english"}};
  if (option.no_bm25) options.bm25.reset();
  if (option.missing == "count") options.missing = eval::MissingDocuments::count;
  if (option.missing == "skip") options.missing = eval::MissingDocuments::skip;
  options.threads = threads();
  return options;
}

// "1,10,100" as numbers.
std::vector<size_t> cutoffs_of(const RetrievalOption& option) {
  std::vector<size_t> cutoffs;
  std::istringstream parts(option.cutoffs);
  for (std::string part; std::getline(parts, part, ',');) {
    size_t cutoff = 0;
    if (!CLI::detail::lexical_cast(part, cutoff) || cutoff == 0 || cutoff > kMostCutoff)
      throw UsageError("--cutoffs wants numbers of documents from 1 to " + std::to_string(kMostCutoff) + ", such as 1,10,100; got '" +
                       part + "'");
    cutoffs.push_back(cutoff);
  }
  if (cutoffs.empty()) throw UsageError("--cutoffs wants numbers of documents, such as 1,10,100");
  return cutoffs;
}

eval::RankOptions rank_options(const RetrievalOption& option) {
  // With fewer documents, which of those with equal scores are found would depend on the cutoffs.
  return {std::max(std::ranges::max(cutoffs_of(option)), kLeastDepth), option.keep_own_id, threads()};
}

// A model, and how its vectors are computed.
struct Ranker {
  infer::Embedder embedder;
  eval::CachedEmbedder cached;
  eval::VectorOptions options;

  explicit Ranker(const RetrievalOption& option)
      : embedder(make_embedder(option.model)), cached(embedder, vector_settings(embedder), option.model.cache) {
    options.similarity = search::measure_named(measure_of(option, embedder));
    options.query_prompt = prompt_of(embedder, option.query_prompt, {"query"});
    options.passage_prompt = prompt_of(embedder, option.passage_prompt, {"document", "passage", "corpus"});
    options.title = with_title(option, embedder);
  }
  Ranker(const Ranker&) = delete;
  Ranker& operator=(const Ranker&) = delete;
};

io::Tree settings_of(const RetrievalOption& option, const Ranker* ranker) {
  io::Tree settings = io::Tree::map();
  if (ranker != nullptr) {
    settings = shown_settings(option.model, ranker->cached.settings());
    settings.set("measure", search::name_of(ranker->options.similarity));
    settings.set("query_prompt", ranker->options.query_prompt);
    settings.set("passage_prompt", ranker->options.passage_prompt);
    settings.set("title", ranker->options.title);
  }
  settings.set("split", option.split);
  settings.set("own_id", option.keep_own_id ? "kept" : "dropped");
  if (!option.no_bm25) settings.set("bm25", {{"k1", option.k1}, {"b", option.b}, {"analyzer", option.analyzer}});
  return settings;
}

eval::IndexedSet indexed_set(const RetrievalOption& option, data::RetrievalSet set) {
  io::Progress progress(set.name + ": read", {.unit = "documents"});
  eval::IndexOptions options = index_options(option);
  options.progress = [&](uint64_t documents) {
    progress.update(documents);
    io::throw_if_interrupted();
  };
  eval::IndexedSet indexed = eval::index_set(std::move(set), options);
  report_skipped(indexed.skipped.count, indexed.skipped.first);
  if (indexed.missing > 0)
    io::warn(indexed.set.name, ": ", indexed.missing, " judgements name documents that the corpus lacks, and ",
             option.missing == "skip" ? "were left out" : "count as documents that are never found");
  return indexed;
}

eval::Ranking rank_with_model(const Ranker& ranker, const eval::IndexedSet& indexed, const eval::RankOptions& how) {
  io::Progress progress(indexed.set.name + ": embed", {.unit = "documents", .total = indexed.ids.size()});
  eval::VectorOptions options = ranker.options;
  options.progress = [&](uint64_t documents) { progress.update(documents); };
  eval::VectorRanking result = eval::rank_vectors(indexed, ranker.cached, options, how);
  progress.finish();
  const int length = ranker.embedder.batcher().options().max_length;
  if (result.truncated_documents > 0)
    io::info(indexed.set.name, ": ", result.truncated_documents, " of ", indexed.ids.size(), " documents were truncated to ", length,
             " tokens");
  if (result.truncated_queries > 0)
    io::info(indexed.set.name, ": ", result.truncated_queries, " of ", indexed.set.queries.size(), " queries were truncated to ", length,
             " tokens");
  return result.ranking;
}

eval::SetScores evaluate_set(const RetrievalOption& option, const Ranker* ranker, data::RetrievalSet set) {
  const eval::IndexedSet indexed = indexed_set(option, std::move(set));
  const eval::RankOptions how = rank_options(option);
  eval::SetScores scores{indexed.set.name, indexed.set.queries.size(), indexed.ids.size(), {}};
  const auto add = [&](const std::string& system, const eval::Ranking& ranking, const std::string& run) {
    scores.systems.emplace_back(system, eval::score_ranking(indexed, ranking, cutoffs_of(option)));
    if (!run.empty()) eval::write_run(run, indexed, ranking, system);
  };
  if (ranker != nullptr) add("model", rank_with_model(*ranker, indexed, how), option.run);
  if (indexed.bm25) add("BM25", eval::rank_bm25(indexed, how), option.bm25_run);
  return scores;
}

// The scores of the tables: at 10 documents, as benchmarks report them, and the recall of all; or what the cutoffs allow.
std::vector<std::string> main_scores(const std::vector<size_t>& cutoffs) {
  const size_t most = std::ranges::max(cutoffs);
  const std::string k = std::to_string(std::ranges::find(cutoffs, size_t{10}) == cutoffs.end() ? most : 10);
  return {"nDCG@" + k, "MRR@" + k, "Recall@" + std::to_string(most)};
}

void check_options(const RetrievalOption& option) {
  (void)cutoffs_of(option);
  check_results(option.results, option.folders);
  for (const std::string& run : {option.run, option.bm25_run}) {
    if (run.empty()) continue;
    require_free(run, option.results.overwrite);
    (void)io::writable_path(run);
  }
}

std::vector<data::RetrievalSet> read_sets(const std::function<std::vector<data::RetrievalSet>()>& read) {
  try {
    return read();
  } catch (const data::BadRecord& e) {
    fail(e.what(), skip_bad_remedy);
  }
}

// of_model: the options that say nothing of BM25.
void add_bm25_options(CLI::App& app, RetrievalOption& option, const std::vector<CLI::Option*>& of_model) {
  CLI::Option* none = app.add_flag("--no-bm25", option.no_bm25, "Do not evaluate BM25 beside the model");
  CLI::Option* alone = app.add_flag("--bm25-only", option.bm25_only, "Evaluate BM25 alone, without a model");
  none->excludes(alone);
  none->excludes(add_number(app, "--bm25-k1", option.k1, 0.0, 1000.0, "k1 of BM25 (0.9: Anserini's and BEIR's; Lucene's own is 1.2)")
                     ->capture_default_str());
  none->excludes(add_number(app, "--bm25-b", option.b, 0.0, 1.0, "b of BM25 (0.4: Anserini's and BEIR's; Lucene's own is 0.75)")
                     ->capture_default_str());
  none->excludes(add_choice(app, "--bm25-analyzer", option.analyzer, {"english", "words"},
                            "Terms of BM25; english: lower-cased words without stop words, stemmed; words: lower-cased words")
                     ->capture_default_str());
  none->excludes(app.add_option("--bm25-run", option.bm25_run, "Like --run, for BM25")->type_name("FILE"));
  for (CLI::Option* each : of_model) alone->excludes(each);
}

}  // namespace

void add_retrieval_options(CLI::App& app, RetrievalOption& option, const std::string& folders) {
  app.add_option("folders", option.folders, folders)->required()->type_name("DIR");
  const std::vector<CLI::Option*> before = app.get_options();
  add_eval_model_options(app, option.model);
  add_prompt_option(app, "--query-prompt", option.query_prompt,
                    "Put in front of queries: a prompt's name or the text itself (default: the model's prompt \"query\", if it has one)");
  add_prompt_option(app, "--passage-prompt", option.passage_prompt,
                    "Put in front of documents (default: the model's prompt \"document\", \"passage\" or \"corpus\", if it has one)");
  add_choice(app, "--measure", option.measure, {"cosine", "dot", "euclidean", "manhattan"},
             "Similarity; distances count negative (default: the model's, else cosine)");
  add_choice(app, "--title", option.title, {"auto", "always", "never"},
             "Whether a document's title is put before its text; auto: if the maximum length is at least 512, as upstream does")
      ->capture_default_str();
  app.add_option("--run", option.run, "Write the model's ranking as a TREC run file (one data set)")->type_name("FILE");
  std::vector<CLI::Option*> of_model = app.get_options();
  of_model.erase(of_model.begin(), of_model.begin() + static_cast<std::ptrdiff_t>(before.size()));
  app.add_option("--cutoffs", option.cutoffs, "Ranks at which the scores are computed; so many documents are searched, at least 100")
      ->type_name("N,N,...")
      ->capture_default_str();
  app.add_option("--split", option.split, "Judgements: qrels/SPLIT.tsv or .jsonl")->type_name("NAME")->capture_default_str();
  app.add_flag("--keep-own-id", option.keep_own_id, "Let a query find the document with its own id (default: it is dropped, as BEIR does)");
  app.add_flag("--skip-bad", option.skip_bad, "Pass over lines that cannot be used, and count them");
  add_choice(app, "--missing-documents", option.missing, {"error", "count", "skip"},
             "Judgements of documents that the corpus lacks: an error; count: relevant documents\nthat are never found, as in BEIR; skip: "
             "left out")
      ->capture_default_str();
  add_bm25_options(app, option, of_model);
  add_result_options(app, option.results);
}

void run_retrieval(const RetrievalOption& option, const Globals& globals, const std::function<std::vector<data::RetrievalSet>()>& read) {
  check_options(option);
  io::install_interrupt_handlers();
  std::vector<data::RetrievalSet> sets = read_sets(read);
  if (sets.size() > 1 && !(option.run.empty() && option.bm25_run.empty()))
    throw UsageError("--run and --bm25-run are for one data set, and there are " + std::to_string(sets.size()));
  std::unique_ptr<Ranker> ranker;
  if (!option.bm25_only) ranker = std::make_unique<Ranker>(option);
  eval::Results results;
  results.title = "Retrieval";
  results.labels = {"data set", "system"};
  results.settings = settings_of(option, ranker.get());
  results.main_scores = main_scores(cutoffs_of(option));
  std::vector<eval::SetScores> scores;
  for (data::RetrievalSet& set : sets) {
    try {
      scores.push_back(evaluate_set(option, ranker.get(), std::move(set)));
    } catch (const data::BadRecord& e) {
      fail(e.what(), skip_bad_remedy);
    }
  }
  results.rows = eval::retrieval_rows(scores, option.results.bootstrap());
  show_results(results, option.results, globals);
}

}  // namespace m2bert::cli
