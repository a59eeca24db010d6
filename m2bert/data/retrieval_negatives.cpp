#include "m2bert/data/retrieval_negatives.h"

#include <algorithm>
#include <cmath>

#include "m2bert/error.h"
#include "m2bert/random.h"

namespace m2bert::data {
namespace {

// The highest score of a negative.
float highest_score(const std::optional<float>& positive, const NegativeOptions& options) {
  float limit = INFINITY;
  if (!positive) return limit;
  if (options.absolute_margin) limit = *positive - *options.absolute_margin;
  if (options.relative_margin) limit = std::min(limit, *positive - std::abs(*positive) * *options.relative_margin);
  return limit;
}

bool contains(std::span<const uint32_t> numbers, uint32_t number) { return std::ranges::find(numbers, number) != numbers.end(); }

// Samples by query, in order of their first sample.
std::vector<std::vector<size_t>> samples_by_query(const RetrievalData& data) {
  std::vector<std::vector<size_t>> groups;
  std::unordered_map<uint32_t, size_t> place;
  for (size_t i = 0; i < data.samples().size(); ++i) {
    const auto [it, is_new] = place.emplace(data.samples()[i].query, groups.size());
    if (is_new) groups.emplace_back();
    groups[it->second].push_back(i);
  }
  return groups;
}

void set_negatives(RetrievalSample& sample, const std::vector<uint32_t>& negatives) {
  sample.passages.resize(1);
  sample.passages.insert(sample.passages.end(), negatives.begin(), negatives.end());
}

void require_unscored(const RetrievalData& data) {
  for (const auto& sample : data.samples())
    require(sample.scores.empty(), "negatives can be mined for queries with positives; these samples have labels or scores of their own");
}

}  // namespace

std::vector<uint32_t> choose_negatives(std::span<const ScoredPassage> ranked, std::span<const uint32_t> positives,
                                       std::optional<float> positive_score, const NegativeOptions& options, uint64_t number) {
  const float limit = highest_score(positive_score, options);
  std::vector<uint32_t> found;
  size_t rank = 0;
  for (const auto& [passage, score] : ranked) {
    if (contains(positives, passage)) continue;
    if (rank >= options.last_rank) break;
    if (rank++ >= options.first_rank && score <= limit) found.push_back(passage);
    if (!options.random && found.size() == options.per_query) return found;
  }
  if (options.random) {
    Random random{options.seed, number};
    shuffle(found, random);
  }
  found.resize(std::min(found.size(), options.per_query));
  return found;
}

std::vector<uint32_t> random_negatives(std::span<const uint32_t> corpus, std::span<const uint32_t> positives,
                                       const NegativeOptions& options, uint64_t number) {
  if (options.per_query == 0) return {};
  require(corpus.size() >= positives.size() + options.per_query, "the corpus has ", corpus.size(), " passages, too few for ",
          options.per_query, " negatives beside ", positives.size(), " positives");
  Random random{options.seed, number};
  std::vector<uint32_t> found;
  while (found.size() < options.per_query) {
    const uint32_t passage = corpus[random.below(corpus.size())];
    if (!contains(positives, passage) && !contains(found, passage)) found.push_back(passage);
  }
  return found;
}

uint64_t mine_negatives(RetrievalData& data, const NegativeOptions& options, const std::function<Ranking(uint32_t query)>& rank) {
  require_unscored(data);
  const auto positives = data.positives();
  uint64_t missing = 0;
  for (const auto& group : samples_by_query(data)) {
    const uint32_t query = data.samples()[group[0]].query;
    const auto ranking = rank(query);
    for (const size_t i : group) {
      auto& sample = data.samples()[i];
      const auto positive = ranking.score_of ? ranking.score_of(sample.passages[0]) : std::nullopt;
      const auto chosen = choose_negatives(ranking.passages, positives.at(query), positive, options, i);
      missing += options.per_query - chosen.size();
      set_negatives(sample, chosen);
    }
  }
  return missing;
}

void complete_negatives(RetrievalData& data, const NegativeOptions& options) {
  const auto positives = data.positives();
  const auto corpus = data.corpus();
  for (size_t i = 0; i < data.samples().size(); ++i) {
    auto& passages = data.samples()[i].passages;
    if (passages.size() > options.per_query) continue;
    // Nothing that the sample has already.
    auto taken = positives.at(data.samples()[i].query);
    taken.insert(taken.end(), passages.begin() + 1, passages.end());
    auto missing = options;
    missing.per_query = options.per_query + 1 - passages.size();
    const auto more = random_negatives(corpus, taken, missing, i);
    passages.insert(passages.end(), more.begin(), more.end());
  }
}

void add_random_negatives(RetrievalData& data, const NegativeOptions& options) {
  require_unscored(data);
  const auto positives = data.positives();
  const auto corpus = data.corpus();
  for (size_t i = 0; i < data.samples().size(); ++i) {
    auto& sample = data.samples()[i];
    set_negatives(sample, random_negatives(corpus, positives.at(sample.query), options, i));
  }
}

}  // namespace m2bert::data
