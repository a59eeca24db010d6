#pragma once
// Retrieval: documents ranked for queries, by a model's vectors and by BM25, and the scores of the rankings.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "m2bert/data/retrieval_set.h"
#include "m2bert/eval/results.h"
#include "m2bert/eval/vector_cache.h"
#include "m2bert/search/bm25.h"
#include "m2bert/search/top_k.h"

namespace m2bert::eval {

// What becomes of judgements of documents that the corpus lacks.
enum class MissingDocuments {
  error,
  count,  // they count as documents that are never found, as in trec_eval and BEIR
  skip,   // they are left out, and so are queries with no other judgement
};

// A set whose documents have been read once.
struct IndexedSet {
  data::RetrievalSet set;
  std::vector<std::string> ids;                     // of the documents, in the order of the corpus
  std::unordered_map<std::string, size_t> numbers;  // of the documents that are judged, or have the id of a query
  std::optional<search::Bm25> bm25;
  uint64_t missing = 0;          // judgements of documents that the corpus lacks
  data::SkippedRecords skipped;  // of all files
};

struct IndexOptions {
  std::optional<search::Bm25Options> bm25 = search::Bm25Options{};  // nullopt: no index
  MissingDocuments missing = MissingDocuments::error;
  int threads = 1;
  std::function<void(uint64_t documents)> progress;
};

// Reads all documents, indexes them for BM25 (title and text), and checks the judgements. Error: a line of the corpus cannot be used; no
// documents; a judgement of an unknown document.
IndexedSet index_set(data::RetrievalSet set, const IndexOptions& options = {});

// The documents found for each query, best first. Equal scores are in trec_eval's order: descending ids.
using Ranking = std::vector<std::vector<search::Hit>>;

struct RankOptions {
  size_t depth = 100;        // documents for a query
  bool keep_own_id = false;  // false: a document with the id of the query is no answer to it, as in BEIR
  int threads = 1;
};

Ranking rank_bm25(const IndexedSet& indexed, const RankOptions& options);

struct VectorOptions {
  search::Similarity similarity = search::Similarity::cosine;
  std::string query_prompt, passage_prompt;
  bool title = true;  // the title and a space before the text
  std::function<void(uint64_t documents)> progress;
};

struct VectorRanking {
  Ranking ranking;
  uint64_t truncated_queries = 0, truncated_documents = 0;
};

// Embeds queries and documents, and ranks all documents exactly.
VectorRanking rank_vectors(const IndexedSet& indexed, const CachedEmbedder& embedder, const VectorOptions& vectors,
                           const RankOptions& options);

// A metric's value for each query.
struct QueryScores {
  std::string name;  // "nDCG@10"
  std::vector<double> values;
};

// nDCG, MAP, Recall and P at each cutoff, then MRR: those of m2bert/metrics/ranking.h. All queries count, also those for which nothing was
// found.
std::vector<QueryScores> score_ranking(const IndexedSet& indexed, const Ranking& ranking, const std::vector<size_t>& cutoffs);

// The ranking as a TREC run file: query id, "Q0", document id, rank from 1, score, tag. Scores have as many digits as they need.
void write_run(const std::filesystem::path& file, const IndexedSet& indexed, const Ranking& ranking, const std::string& tag);

// The scores of a set's systems.
struct SetScores {
  std::string name;
  uint64_t queries = 0, documents = 0;
  std::vector<std::pair<std::string, std::vector<QueryScores>>> systems;  // {"model", ...}, {"BM25", ...}
};

// Rows for each set: its systems, and the difference of the first two; with several sets also the means over the sets. Intervals are over
// the queries, and over those of each set for a mean; nullopt: none.
std::vector<ResultRow> retrieval_rows(const std::vector<SetScores>& sets, const std::optional<metrics::Bootstrap>& bootstrap);

}  // namespace m2bert::eval
