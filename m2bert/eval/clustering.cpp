#include "m2bert/eval/clustering.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "m2bert/error.h"
#include "m2bert/random.h"

namespace m2bert::eval {
namespace {

constexpr double kFar = std::numeric_limits<double>::infinity();

class KMeans {
 public:
  KMeans(std::span<const float> vectors, size_t dim, size_t clusters)
      : vectors_(vectors),
        dim_(dim),
        clusters_(clusters),
        nearest_(vectors.size() / dim),
        distances_(vectors.size() / dim, kFar),
        centers_(clusters * dim) {}

  // Draws the first center at random, and several candidates for each further one, with probabilities that grow with their squared distance
  // from the centers before; the candidate that leaves the smallest inertia becomes the center.
  void draw_centers(Random& random) {
    const int candidates = 2 + static_cast<int>(std::log(static_cast<double>(clusters_)));
    distances_ = distances_with(std::vector<double>(distances_.size(), kFar), 0, random.below(distances_.size()));
    for (size_t c = 1; c < clusters_; ++c) {
      std::vector<double> best;
      size_t chosen = 0;
      for (int i = 0; i < candidates; ++i) {
        const size_t candidate = at_sum(random.uniform() * sum_of(distances_));
        auto distances = distances_with(distances_, c, candidate);
        if (!best.empty() && sum_of(distances) >= sum_of(best)) continue;
        best = std::move(distances);
        chosen = candidate;
      }
      put_center(c, chosen);
      distances_ = std::move(best);
    }
  }

  // Assigns each vector to its nearest center; false if none changed.
  bool assign() {
    std::vector<uint8_t> changed(nearest_.size());
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < nearest_.size(); ++i) {
      int32_t best = 0;
      distances_[i] = kFar;
      for (size_t c = 0; c < clusters_; ++c)
        if (const double d = squared_distance(i, c); d < distances_[i]) {
          distances_[i] = d;
          best = static_cast<int32_t>(c);
        }
      changed[i] = nearest_[i] != best;
      nearest_[i] = best;
    }
    return std::ranges::find(changed, 1) != changed.end();
  }

  // Moves each center to the mean of its vectors. A center without vectors takes the vector that is farthest from its own.
  void move_centers() {
    std::vector<double> sums(centers_.size());
    std::vector<size_t> counts(clusters_);
    for (size_t i = 0; i < nearest_.size(); ++i) {
      const auto c = static_cast<size_t>(nearest_[i]);
      ++counts[c];
      for (size_t d = 0; d < dim_; ++d) sums[c * dim_ + d] += vectors_[i * dim_ + d];
    }
    for (size_t c = 0; c < clusters_; ++c) {
      if (counts[c] > 0) {
        for (size_t d = 0; d < dim_; ++d) centers_[c * dim_ + d] = static_cast<float>(sums[c * dim_ + d] / static_cast<double>(counts[c]));
      } else {
        const auto farthest = static_cast<size_t>(std::ranges::max_element(distances_) - distances_.begin());
        distances_ = distances_with(std::move(distances_), c, farthest);
      }
    }
  }

  KMeansResult result() const { return {nearest_, sum_of(distances_)}; }

 private:
  double squared_distance(size_t vector, size_t center) const {
    const float *a = vectors_.data() + vector * dim_, *b = centers_.data() + center * dim_;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t d = 0; d < dim_; ++d) sum += (a[d] - b[d]) * (a[d] - b[d]);
    return sum;
  }

  void put_center(size_t center, size_t vector) {
    std::copy_n(vectors_.begin() + static_cast<std::ptrdiff_t>(vector * dim_), dim_,
                centers_.begin() + static_cast<std::ptrdiff_t>(center * dim_));
  }

  // Puts a center on a vector; the distances from the nearest center with this one among them.
  std::vector<double> distances_with(std::vector<double> distances, size_t center, size_t vector) {
    put_center(center, vector);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < distances.size(); ++i) distances[i] = std::min(distances[i], squared_distance(i, center));
    return distances;
  }

  static double sum_of(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

  // The vector at which the running sum of the distances passes `left`.
  size_t at_sum(double left) const {
    size_t last = 0;
    for (size_t i = 0; i < distances_.size(); ++i) {
      if (distances_[i] == 0) continue;
      last = i;
      left -= distances_[i];
      if (left < 0) break;
    }
    return last;
  }

  std::span<const float> vectors_;
  size_t dim_, clusters_;
  std::vector<int32_t> nearest_;
  std::vector<double> distances_;  // of each vector from its nearest center
  std::vector<float> centers_;
};

}  // namespace

KMeansResult k_means(std::span<const float> vectors, size_t dim, const KMeansOptions& options) {
  require(dim > 0 && vectors.size() % dim == 0, "[k_means] ", vectors.size(), " values are no multiple of ", dim, " dimensions");
  require(options.clusters > 0 && static_cast<size_t>(options.clusters) <= vectors.size() / dim, "[k_means] ", vectors.size() / dim,
          " vectors cannot form ", options.clusters, " clusters");
  KMeansResult best{{}, kFar};
  for (int restart = 0; restart < std::max(1, options.restarts); ++restart) {
    KMeans run(vectors, dim, static_cast<size_t>(options.clusters));
    Random random{options.seed, static_cast<uint64_t>(restart)};
    run.draw_centers(random);
    run.assign();
    for (int i = 0; i < options.max_iterations; ++i) {
      run.move_centers();
      if (!run.assign()) break;
    }
    if (auto result = run.result(); result.inertia < best.inertia) best = std::move(result);
  }
  return best;
}

}  // namespace m2bert::eval
