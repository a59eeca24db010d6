#pragma once
// Metrics of ranked lists, equal to those of trec_eval (pytrec_eval, which BEIR and MTEB use). A query is described by two lists of
// relevances: those of its ranked documents, best first, with 0 for a document that nobody has judged; and those of all its judged
// documents, in any order. A document is relevant if its relevance is at least 1. All functions return 0 for a query without relevant
// documents, and none is NaN. A query's k best documents are ranks 1 to k; k > 0, or Error.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace m2bert::metrics {

inline constexpr size_t kAllRanks = std::numeric_limits<size_t>::max();

// nDCG@k (ndcg_cut): the sum of gain / log2(rank + 1) over the k best, divided by that of the ideal ranking of all judged documents. The
// gain is the relevance itself (linear, not 2^relevance - 1); a negative relevance gains 0.
double ndcg(std::span<const int32_t> ranked, std::span<const int32_t> judged, size_t k = kAllRanks);
// The term of a query in MRR@k (recip_rank): 1 / rank of the first relevant document, 0 if it is not among the k best.
double reciprocal_rank(std::span<const int32_t> ranked, size_t k = kAllRanks);
// The term of a query in MAP@k (map_cut): the sum of the precisions at each relevant document among the k best, divided by the number of
// relevant documents.
double average_precision(std::span<const int32_t> ranked, std::span<const int32_t> judged, size_t k = kAllRanks);
// P@k: the relevant among the k best, divided by k, also where fewer than k documents were ranked.
double precision(std::span<const int32_t> ranked, size_t k);
// Recall@k: the relevant among the k best, divided by the number of relevant documents.
double recall(std::span<const int32_t> ranked, std::span<const int32_t> judged, size_t k);
// R-precision (Rprec): the precision at rank R, where R is the number of relevant documents.
double r_precision(std::span<const int32_t> ranked, std::span<const int32_t> judged);

// trec_eval's order of documents: by descending score, which it keeps as a float; documents with equal scores by descending id (byte
// order).
inline bool trec_before(float score_a, std::string_view id_a, float score_b, std::string_view id_b) {
  return score_a != score_b ? score_a > score_b : id_a > id_b;
}
// The indices of the documents in that order. Throws Error on NaN.
std::vector<size_t> trec_order(std::span<const float> scores, std::span<const std::string> ids);

// The mean of a metric over the queries; NaN without queries.
double mean(std::span<const double> values);

}  // namespace m2bert::metrics
