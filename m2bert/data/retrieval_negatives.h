#pragma once
// Hard negatives: passages that a search ranks high for a query although they are not its positives.
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "m2bert/data/retrieval_data.h"

namespace m2bert::data {

struct ScoredPassage {
  uint32_t passage = 0;
  float score = 0;
};

struct NegativeOptions {
  size_t per_query = 1;  // negatives that a sample gets
  // The ranks that negatives are taken from, counted from 0 without the positives; the highest ranks are often answers that nobody marked.
  size_t first_rank = 0, last_rank = 100;
  // Passages that score too close to the positive are probably relevant: at least so much below it, in score or relative to it.
  std::optional<float> absolute_margin, relative_margin;
  bool random = false;  // from these ranks at random; false: the best of them
  uint64_t seed = 0;    // of the random choice
};

// Chooses the negatives of a query. ranked: passages, best first. positives: of the query, never chosen. positive_score: of the sample's
// positive, by the same search; nullopt: unknown, and the margins are not applied. May give fewer than per_query. number: of the sample, so
// that each draws its own random choice.
std::vector<uint32_t> choose_negatives(std::span<const ScoredPassage> ranked, std::span<const uint32_t> positives,
                                       std::optional<float> positive_score, const NegativeOptions& options, uint64_t number);

// Passages of the corpus at random. Error: it has none but the positives.
std::vector<uint32_t> random_negatives(std::span<const uint32_t> corpus, std::span<const uint32_t> positives,
                                       const NegativeOptions& options, uint64_t number);

// The passages that a search ranks highest for a query, best first, and its score of one passage.
struct Ranking {
  std::vector<ScoredPassage> passages;
  std::function<std::optional<float>(uint32_t passage)> score_of;
};

// Replaces the negatives of every sample by mined ones. rank: a search for a text's number. Samples of a query are ranked once. Returns how
// many negatives are missing because too few passages were left.
uint64_t mine_negatives(RetrievalData& data, const NegativeOptions& options, const std::function<Ranking(uint32_t query)>& rank);
// Adds random passages of the corpus where a sample has fewer negatives than per_query.
void complete_negatives(RetrievalData& data, const NegativeOptions& options);
// Gives every sample random passages of the corpus.
void add_random_negatives(RetrievalData& data, const NegativeOptions& options);

}  // namespace m2bert::data
