#pragma once
// k-means: Lloyd's algorithm on all vectors, from centers that greedy k-means++ draws (Arthur and Vassilvitskii, 2007), as scikit-learn's
// KMeans.
#include <cstdint>
#include <span>
#include <vector>

namespace m2bert::eval {

struct KMeansOptions {
  int clusters = 2;
  int restarts = 10;  // the result with the smallest inertia is kept
  int max_iterations = 300;
  uint64_t seed = 0;
};

struct KMeansResult {
  std::vector<int32_t> clusters;  // of each vector
  double inertia = 0;             // the sum of squared distances of the vectors from their centers
};

// vectors: [n, dim]. The result does not depend on the number of threads. Throws Error unless there are at least as many vectors as
// clusters.
KMeansResult k_means(std::span<const float> vectors, size_t dim, const KMeansOptions& options);

}  // namespace m2bert::eval
