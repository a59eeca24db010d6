#include "m2bert/metrics/ranking.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "m2bert/error.h"
#include "m2bert/metrics/sum.h"

namespace m2bert::metrics {

namespace {

std::span<const int32_t> best(std::span<const int32_t> ranked, size_t k) {
  require(k > 0, "[ranking] wants k of at least 1");
  return ranked.first(std::min(k, ranked.size()));
}

bool relevant(int32_t relevance) { return relevance >= 1; }

double relevant_in(std::span<const int32_t> list) { return static_cast<double>(std::count_if(list.begin(), list.end(), relevant)); }

// Discounted cumulative gain.
double dcg(std::span<const int32_t> ranked) {
  double sum = 0;
  for (size_t i = 0; i < ranked.size(); ++i)
    if (relevant(ranked[i])) sum += ranked[i] / std::log2(static_cast<double>(i + 2));
  return sum;
}

double ratio(double part, double cases) { return cases == 0 ? 0 : part / cases; }

}  // namespace

double ndcg(std::span<const int32_t> ranked, std::span<const int32_t> judged, size_t k) {
  std::vector<int32_t> ideal(judged.begin(), judged.end());
  std::sort(ideal.begin(), ideal.end(), std::greater<>());
  return ratio(dcg(best(ranked, k)), dcg(best(ideal, k)));
}

double reciprocal_rank(std::span<const int32_t> ranked, size_t k) {
  const auto list = best(ranked, k);
  const auto first = std::find_if(list.begin(), list.end(), relevant);
  return first == list.end() ? 0 : 1 / static_cast<double>(first - list.begin() + 1);
}

double average_precision(std::span<const int32_t> ranked, std::span<const int32_t> judged, size_t k) {
  const auto list = best(ranked, k);
  double found = 0, sum = 0;
  for (size_t i = 0; i < list.size(); ++i)
    if (relevant(list[i])) sum += ++found / static_cast<double>(i + 1);
  return ratio(sum, relevant_in(judged));
}

double precision(std::span<const int32_t> ranked, size_t k) { return relevant_in(best(ranked, k)) / static_cast<double>(k); }

double recall(std::span<const int32_t> ranked, std::span<const int32_t> judged, size_t k) {
  return ratio(relevant_in(best(ranked, k)), relevant_in(judged));
}

double r_precision(std::span<const int32_t> ranked, std::span<const int32_t> judged) {
  const double all = relevant_in(judged);
  return all == 0 ? 0 : precision(ranked, static_cast<size_t>(all));
}

std::vector<size_t> trec_order(std::span<const float> scores, std::span<const std::string> ids) {
  require(scores.size() == ids.size(), "[trec_order] there are ", scores.size(), " scores for ", ids.size(), " documents");
  for (const float score : scores) require(!std::isnan(score), "[trec_order] a score is NaN");
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return trec_before(scores[a], ids[a], scores[b], ids[b]); });
  return order;
}

double mean(std::span<const double> values) {
  return compensated_mean(values.size(), [&](size_t i) { return values[i]; });
}

}  // namespace m2bert::metrics
