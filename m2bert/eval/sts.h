#pragma once
// Semantic textual similarity: how well the similarity of two texts' vectors agrees with a human score. Equal to sentence-transformers'
// EmbeddingSimilarityEvaluator.
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "m2bert/eval/results.h"
#include "m2bert/search/top_k.h"

namespace m2bert::eval {

// The similarity of row i of `a` with row i of `b`, both [n, dim]. Distances count negative, and the cosine of a zero vector is 0.
std::vector<double> pair_similarities(search::Similarity similarity, std::span<const float> a, std::span<const float> b, size_t dim);

// "Spearman" and "Pearson" between similarities and scores. NaN if either is constant. Intervals are over the pairs; nullopt: none.
std::vector<Score> correlations(std::span<const double> similarities, std::span<const double> scores,
                                const std::optional<metrics::Bootstrap>& bootstrap);

}  // namespace m2bert::eval
