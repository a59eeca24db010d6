#include "m2bert/eval/retrieval.h"

#include <algorithm>
#include <array>
#include <memory>
#include <unordered_set>

#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/json.h"
#include "m2bert/metrics/ranking.h"

namespace m2bert::eval {
namespace {

constexpr size_t kIndexedAtOnce = 4096, kSearchedAtOnce = 1 << 14;  // documents

std::string with_title(const data::Document& document) {
  return document.title.empty() ? document.text : document.title + " " + document.text;
}

// Reads the documents into `indexed`.
void read_documents(IndexedSet& indexed, const IndexOptions& options) {
  std::unordered_set<std::string> wanted;
  for (const data::JudgedQuery& query : indexed.set.queries) {
    wanted.insert(query.id);
    for (const data::Judgement& judgement : query.judgements) wanted.insert(judgement.document);
  }
  std::vector<std::string> texts;
  const auto flush = [&] {
    if (indexed.bm25) indexed.bm25->add(texts, options.threads);
    texts.clear();
    if (options.progress) options.progress(indexed.ids.size());
  };
  const auto documents = indexed.set.open_documents();
  for (data::Document document; documents->next(document);) {
    if (wanted.contains(document.id)) indexed.numbers.emplace(document.id, indexed.ids.size());
    indexed.ids.push_back(document.id);
    if (indexed.bm25) texts.push_back(with_title(document));
    if (indexed.ids.size() % kIndexedAtOnce == 0) flush();
  }
  flush();
  indexed.skipped.add(documents->skipped());
}

void check_judgements(IndexedSet& indexed, MissingDocuments missing) {
  auto& queries = indexed.set.queries;
  for (data::JudgedQuery& query : queries) {
    const auto lacks = [&](const data::Judgement& judgement) { return !indexed.numbers.contains(judgement.document); };
    for (const data::Judgement& judgement : query.judgements) {
      if (!lacks(judgement)) continue;
      require(missing != MissingDocuments::error, indexed.set.name, ": the query ", query.id, " has a judgement of the document ",
              judgement.document,
              ", which the corpus lacks; --missing-documents count takes such documents for relevant ones that are never found, as BEIR "
              "does, and "
              "--missing-documents skip leaves their judgements out");
      ++indexed.missing;
    }
    if (missing == MissingDocuments::skip) std::erase_if(query.judgements, lacks);
  }
  std::erase_if(queries, [](const data::JudgedQuery& query) { return query.judgements.empty(); });
  require(!queries.empty(), indexed.set.name, ": no judgement names a document of the corpus");
}

std::vector<std::string> texts_of(const std::vector<data::JudgedQuery>& queries) {
  std::vector<std::string> texts;
  for (const data::JudgedQuery& query : queries) texts.push_back(query.text);
  return texts;
}

// Hits of a search for one more document than `depth`, as the ranking of a query.
void finish_hits(std::vector<search::Hit>& hits, const IndexedSet& indexed, const std::string& query_id, const RankOptions& options) {
  const auto own = indexed.numbers.find(query_id);
  if (!options.keep_own_id && own != indexed.numbers.end())
    std::erase_if(hits, [&](const search::Hit& hit) { return hit.index == own->second; });
  if (hits.size() > options.depth) hits.resize(options.depth);
  std::ranges::sort(hits, [&](const search::Hit& a, const search::Hit& b) {
    return metrics::trec_before(a.score, indexed.ids[a.index], b.score, indexed.ids[b.index]);
  });
}

void finish_ranking(Ranking& ranking, const IndexedSet& indexed, const RankOptions& options) {
  for (size_t query = 0; query < ranking.size(); ++query) finish_hits(ranking[query], indexed, indexed.set.queries[query].id, options);
}

// Reads the documents once more, for the embedder.
infer::NextText document_texts(const data::RetrievalSet& set, bool title) {
  const std::shared_ptr<data::DocumentSource> documents = set.open_documents();
  return [documents, title](std::string& text) {
    data::Document document;
    if (!documents->next(document)) return false;
    text = title ? with_title(document) : document.text;
    return true;
  };
}

}  // namespace

IndexedSet index_set(data::RetrievalSet set, const IndexOptions& options) {
  IndexedSet indexed;
  indexed.set = std::move(set);
  indexed.skipped = indexed.set.skipped;
  if (options.bm25) indexed.bm25.emplace(*options.bm25);
  read_documents(indexed, options);
  require(!indexed.ids.empty(), indexed.set.name, ": its corpus has no documents");
  check_judgements(indexed, options.missing);
  if (indexed.bm25) indexed.bm25->build();
  return indexed;
}

Ranking rank_bm25(const IndexedSet& indexed, const RankOptions& options) {
  Ranking ranking = indexed.bm25.value().search(texts_of(indexed.set.queries), options.depth + 1, options.threads);
  finish_ranking(ranking, indexed, options);
  return ranking;
}

VectorRanking rank_vectors(const IndexedSet& indexed, const CachedEmbedder& embedder, const VectorOptions& vectors,
                           const RankOptions& options) {
  const VectorBlock queries = embedder(texts_of(indexed.set.queries), vectors.query_prompt);
  VectorRanking result;
  result.truncated_queries = queries.truncated;
  search::TopKSearch search(queries.vectors, embedder.dim(), {options.depth + 1, vectors.similarity, options.threads});
  std::vector<float> waiting;  // many documents at once keep all cores busy
  uint64_t documents = 0;
  const auto flush = [&] {
    search.add(waiting);
    waiting.clear();
  };
  embedder.for_each_block(document_texts(indexed.set, vectors.title), vectors.passage_prompt, [&](const VectorBlock& block) {
    waiting.insert(waiting.end(), block.vectors.begin(), block.vectors.end());
    if (waiting.size() >= kSearchedAtOnce * embedder.dim()) flush();
    result.truncated_documents += block.truncated;
    documents += block.rows;
    if (vectors.progress) vectors.progress(documents);
  });
  flush();
  require(documents == indexed.ids.size(), indexed.set.name, ": its corpus changed while it was read");
  result.ranking = search.finish();
  finish_ranking(result.ranking, indexed, options);
  return result;
}

std::vector<QueryScores> score_ranking(const IndexedSet& indexed, const Ranking& ranking, const std::vector<size_t>& cutoffs) {
  using Metric = double (*)(std::span<const int32_t> ranked, std::span<const int32_t> judged, size_t k);
  constexpr std::array<std::pair<const char*, Metric>, 5> kMetrics = {{
      {"nDCG", [](auto ranked, auto judged, size_t k) { return metrics::ndcg(ranked, judged, k); }},
      {"MAP", [](auto ranked, auto judged, size_t k) { return metrics::average_precision(ranked, judged, k); }},
      {"Recall", [](auto ranked, auto judged, size_t k) { return metrics::recall(ranked, judged, k); }},
      {"P", [](auto ranked, auto, size_t k) { return metrics::precision(ranked, k); }},
      {"MRR", [](auto ranked, auto, size_t k) { return metrics::reciprocal_rank(ranked, k); }},
  }};
  std::vector<QueryScores> scores;
  for (const auto& metric : kMetrics)
    for (const size_t k : cutoffs) scores.push_back({metric.first + ("@" + std::to_string(k)), {}});
  for (size_t query = 0; query < ranking.size(); ++query) {
    std::unordered_map<std::string, int32_t> relevance;
    std::vector<int32_t> judged, ranked;
    for (const data::Judgement& judgement : indexed.set.queries[query].judgements) {
      relevance.emplace(judgement.document, judgement.relevance);
      judged.push_back(judgement.relevance);
    }
    for (const search::Hit& hit : ranking[query]) {
      const auto found = relevance.find(indexed.ids[hit.index]);
      ranked.push_back(found == relevance.end() ? 0 : found->second);
    }
    size_t at = 0;
    for (const auto& metric : kMetrics)
      for (const size_t k : cutoffs) scores[at++].values.push_back(metric.second(ranked, judged, k));
  }
  return scores;
}

void write_run(const std::filesystem::path& file, const IndexedSet& indexed, const Ranking& ranking, const std::string& tag) {
  io::AtomicFile out(file);
  std::string line;
  for (size_t query = 0; query < ranking.size(); ++query)
    for (size_t rank = 0; rank < ranking[query].size(); ++rank) {
      const search::Hit& hit = ranking[query][rank];
      line = indexed.set.queries[query].id + " Q0 " + indexed.ids[hit.index] + " " + std::to_string(rank + 1) + " ";
      io::append_json_number(line, hit.score);
      out.write(line + " " + tag + "\n");
    }
  out.commit();
}

namespace {

// One score of one system: its mean, and the means of the resamples.
struct Estimate {
  std::string name;
  double mean = 0;
  std::vector<double> resampled;
};

double mean_of(const std::vector<double>& values, std::span<const size_t> items) {
  double sum = 0;
  for (const size_t item : items) sum += values[item];
  return sum / static_cast<double>(items.size());
}

// All systems draw the same queries, so their differences are paired.
std::vector<Estimate> estimates_of(const std::vector<QueryScores>& scores, const std::optional<metrics::Bootstrap>& bootstrap) {
  std::vector<Estimate> estimates;
  for (const QueryScores& score : scores) estimates.push_back({score.name, metrics::mean(score.values), {}});
  if (!bootstrap || scores.empty() || scores.front().values.empty()) return estimates;
  metrics::bootstrap_interval(
      scores.front().values.size(),
      [&](std::span<const size_t> items) {
        for (size_t i = 0; i < scores.size(); ++i) estimates[i].resampled.push_back(mean_of(scores[i].values, items));
        return 0.0;
      },
      *bootstrap);
  return estimates;
}

std::vector<Estimate> difference(const std::vector<Estimate>& a, const std::vector<Estimate>& b) {
  std::vector<Estimate> result = a;
  for (size_t i = 0; i < result.size(); ++i) {
    result[i].mean -= b[i].mean;
    for (size_t r = 0; r < result[i].resampled.size(); ++r) result[i].resampled[r] -= b[i].resampled[r];
  }
  return result;
}

std::vector<Estimate> mean_of_sets(const std::vector<std::vector<Estimate>>& sets) {
  std::vector<Estimate> result = sets.front();
  for (size_t i = 0; i < result.size(); ++i) {
    const auto count = static_cast<double>(sets.size());
    result[i].mean = 0;
    std::ranges::fill(result[i].resampled, 0.0);
    for (const auto& of_set : sets) {
      result[i].mean += of_set[i].mean / count;
      for (size_t r = 0; r < result[i].resampled.size(); ++r) result[i].resampled[r] += of_set[i].resampled[r] / count;
    }
  }
  return result;
}

std::vector<Score> scores_of(const std::vector<Estimate>& estimates, double confidence) {
  std::vector<Score> scores;
  for (const Estimate& estimate : estimates) {
    scores.push_back({estimate.name, estimate.mean, std::nullopt});
    if (estimate.resampled.empty()) continue;
    const double outside = (1 - confidence) / 2;
    scores.back().interval = {metrics::quantile(estimate.resampled, outside), metrics::quantile(estimate.resampled, 1 - outside)};
  }
  return scores;
}

using Systems = std::vector<std::pair<std::string, std::vector<Estimate>>>;

void add_rows(std::vector<ResultRow>& rows, const std::string& name, const io::Tree& details, Systems systems, double confidence) {
  if (systems.size() >= 2) systems.emplace_back("difference", difference(systems[0].second, systems[1].second));
  for (const auto& [system, estimates] : systems) rows.push_back({{name, system}, scores_of(estimates, confidence), details});
}

}  // namespace

std::vector<ResultRow> retrieval_rows(const std::vector<SetScores>& sets, const std::optional<metrics::Bootstrap>& bootstrap) {
  const double confidence = bootstrap ? bootstrap->confidence : 0;
  std::vector<ResultRow> rows;
  std::vector<Systems> of_sets;
  for (const SetScores& set : sets) {
    std::optional<metrics::Bootstrap> draws = bootstrap;
    if (draws) draws->seed += of_sets.size();  // each set draws its own queries
    Systems systems;
    for (const auto& [name, scores] : set.systems) systems.emplace_back(name, estimates_of(scores, draws));
    of_sets.push_back(systems);
    add_rows(rows, set.name, {{"queries", set.queries}, {"documents", set.documents}}, systems, confidence);
  }
  if (sets.size() < 2) return rows;
  Systems means;
  for (size_t system = 0; system < of_sets.front().size(); ++system) {
    std::vector<std::vector<Estimate>> estimates;
    for (const Systems& of_set : of_sets) estimates.push_back(of_set[system].second);
    means.emplace_back(of_sets.front()[system].first, mean_of_sets(estimates));
  }
  add_rows(rows, "mean", {{"data_sets", sets.size()}}, means, confidence);
  return rows;
}

}  // namespace m2bert::eval
