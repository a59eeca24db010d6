#include "m2bert/search/top_k.h"

#include <algorithm>
#include <cmath>

#include "m2bert/error.h"

namespace m2bert::search {
namespace {

constexpr size_t kQueries = 4;      // queries that share one pass over a document
constexpr size_t kDocuments = 256;  // documents that stay in the CPU's cache for all queries of a thread
constexpr size_t kLanes = 16;       // partial sums of a dot product, in a fixed order that suits vector units

// The order of summation does not depend on the block, so equal documents get equal scores.
template <size_t N>
void dots(const float* const* queries, const float* document, size_t dim, float* out) {
  float sums[N][kLanes] = {};
  const size_t whole = dim / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t q = 0; q < N; ++q) {
      for (size_t lane = 0; lane < kLanes; ++lane) sums[q][lane] += queries[q][i + lane] * document[i + lane];
    }
  }
  for (size_t q = 0; q < N; ++q) {
    float total = 0;
    for (size_t lane = 0; lane < kLanes; ++lane) total += sums[q][lane];
    for (size_t i = whole; i < dim; ++i) total += queries[q][i] * document[i];
    out[q] = total;
  }
}

// 1 / length; 0 for the zero vector, so that its cosine is 0.
float inverse_norm(const float* row, size_t dim) {
  double sum = 0;
  for (size_t i = 0; i < dim; ++i) sum += static_cast<double>(row[i]) * row[i];
  return sum > 0 ? static_cast<float>(1 / std::sqrt(sum)) : 0.0f;
}

std::vector<float> inverse_norms(std::span<const float> rows, size_t dim, Similarity similarity) {
  std::vector<float> out(rows.size() / dim, 1.0f);
  if (similarity == Similarity::cosine) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = inverse_norm(rows.data() + i * dim, dim);
  }
  return out;
}

bool better(const Hit& a, const Hit& b) { return a.score != b.score ? a.score > b.score : a.index < b.index; }

// The k best hits so far, as a heap with the worst at the front.
class TopHits {
 public:
  explicit TopHits(size_t k) : k_(k) { hits_.reserve(k); }
  void offer(Hit hit) {
    if (hits_.size() < k_) {
      hits_.push_back(hit);
      std::push_heap(hits_.begin(), hits_.end(), better);
    } else if (k_ > 0 && better(hit, hits_.front())) {
      std::pop_heap(hits_.begin(), hits_.end(), better);
      hits_.back() = hit;
      std::push_heap(hits_.begin(), hits_.end(), better);
    }
  }
  std::vector<Hit> sorted() {
    std::sort_heap(hits_.begin(), hits_.end(), better);
    return std::move(hits_);
  }

 private:
  size_t k_;
  std::vector<Hit> hits_;
};

size_t rows_of(std::span<const float> values, size_t dim, const char* what) {
  require(dim > 0, "[top_k] wants vectors of at least one dimension");
  require(values.size() % dim == 0, "[top_k] the ", what, " have ", values.size(), " values, no multiple of ", dim, " dimensions");
  return values.size() / dim;
}

}  // namespace

std::vector<std::vector<Hit>> top_k(std::span<const float> queries, std::span<const float> documents, size_t dim,
                                    const TopKOptions& options) {
  const size_t n = rows_of(queries, dim, "queries"), m = rows_of(documents, dim, "documents");
  const auto query_norms = inverse_norms(queries, dim, options.similarity),
             document_norms = inverse_norms(documents, dim, options.similarity);
  std::vector<TopHits> best(n, TopHits(std::min(options.k, m)));
  const auto groups = static_cast<std::ptrdiff_t>((n + kQueries - 1) / kQueries);
  [[maybe_unused]] const int threads = std::max(1, options.threads);
  bool finite = true;
  for (size_t from = 0; from < m; from += kDocuments) {
    const size_t to = std::min(m, from + kDocuments);
#pragma omp parallel for schedule(static) num_threads(threads) reduction(&& : finite)
    for (std::ptrdiff_t group = 0; group < groups; ++group) {
      const size_t first = static_cast<size_t>(group) * kQueries, count = std::min(kQueries, n - first);
      const float* rows[kQueries];
      for (size_t q = 0; q < kQueries; ++q) rows[q] = queries.data() + (first + std::min(q, count - 1)) * dim;
      for (size_t d = from; d < to; ++d) {
        float scores[kQueries];
        dots<kQueries>(rows, documents.data() + d * dim, dim, scores);
        for (size_t q = 0; q < count; ++q) {
          const float score = scores[q] * query_norms[first + q] * document_norms[d];
          finite = finite && std::isfinite(score);
          best[first + q].offer({d, score});
        }
      }
    }
    require(finite, "[top_k] a score is not finite: a vector among documents ", from, " to ", to - 1,
            " or the queries has NaN or infinity");
  }
  std::vector<std::vector<Hit>> out;
  out.reserve(n);
  for (TopHits& hits : best) out.push_back(hits.sorted());
  return out;
}

std::vector<float> pairwise(std::span<const float> a, std::span<const float> b, size_t dim, Similarity similarity) {
  const size_t n = rows_of(a, dim, "left vectors"), m = rows_of(b, dim, "right vectors");
  require(n == m, "[pairwise] ", n, " vectors on the left, ", m, " on the right");
  const auto left = inverse_norms(a, dim, similarity), right = inverse_norms(b, dim, similarity);
  std::vector<float> out(n);
  for (size_t i = 0; i < n; ++i) {
    const float* row = a.data() + i * dim;
    dots<1>(&row, b.data() + i * dim, dim, &out[i]);
    out[i] *= left[i] * right[i];
  }
  return out;
}

}  // namespace m2bert::search
