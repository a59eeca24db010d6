#include "m2bert/eval/sts.h"

#include <cmath>

#include "m2bert/error.h"
#include "m2bert/metrics/regression.h"

namespace m2bert::eval {
namespace {

double dot(const float* a, const float* b, size_t dim) {
  double sum = 0;
  for (size_t i = 0; i < dim; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

double distance(search::Similarity similarity, const float* a, const float* b, size_t dim) {
  double sum = 0;
  for (size_t i = 0; i < dim; ++i) {
    const double difference = static_cast<double>(a[i]) - b[i];
    sum += similarity == search::Similarity::euclidean ? difference * difference : std::abs(difference);
  }
  return similarity == search::Similarity::euclidean ? std::sqrt(sum) : sum;
}

double similarity_of(search::Similarity similarity, const float* a, const float* b, size_t dim) {
  if (similarity == search::Similarity::dot) return dot(a, b, dim);
  if (similarity != search::Similarity::cosine) return 0 - distance(similarity, a, b, dim);
  const double lengths = std::sqrt(dot(a, a, dim) * dot(b, b, dim));
  return lengths > 0 ? dot(a, b, dim) / lengths : 0;
}

using Correlation = double (*)(std::span<const double>, std::span<const double>);

Score score(const char* name, Correlation correlation, std::span<const double> x, std::span<const double> y,
            const std::optional<metrics::Bootstrap>& bootstrap) {
  Score score{name, correlation(x, y), std::nullopt};
  if (!bootstrap) return score;
  std::vector<double> some_x(x.size()), some_y(x.size());
  score.interval = metrics::bootstrap_interval(
      x.size(),
      [&](std::span<const size_t> indices) {
        for (size_t i = 0; i < indices.size(); ++i) {
          some_x[i] = x[indices[i]];
          some_y[i] = y[indices[i]];
        }
        return correlation(some_x, some_y);
      },
      *bootstrap);
  return score;
}

}  // namespace

std::vector<double> pair_similarities(search::Similarity similarity, std::span<const float> a, std::span<const float> b, size_t dim) {
  require(dim > 0 && a.size() == b.size() && a.size() % dim == 0, "[sts] ", a.size(), " and ", b.size(),
          " values are no pairs of vectors with ", dim, " dimensions");
  std::vector<double> out;
  // As floats, so that rounding makes no two pairs of equal texts differ.
  for (size_t at = 0; at < a.size(); at += dim)
    out.push_back(static_cast<float>(similarity_of(similarity, a.data() + at, b.data() + at, dim)));
  return out;
}

std::vector<Score> correlations(std::span<const double> similarities, std::span<const double> scores,
                                const std::optional<metrics::Bootstrap>& bootstrap) {
  return {score("Spearman", metrics::spearmanr, similarities, scores, bootstrap),
          score("Pearson", metrics::pearsonr, similarities, scores, bootstrap)};
}

}  // namespace m2bert::eval
