#include "m2bert/search/top_k.h"

#include <algorithm>
#include <cmath>

#include "m2bert/error.h"
#include "m2bert/search/top_hits.h"

namespace m2bert::search {

// What one thread has found.
struct TopKSearch::Thread {
  std::vector<TopHits> best;  // of each query
  size_t not_finite;          // the first document with a score that is not
};

namespace {

constexpr size_t kQueries = 4;                 // queries that share one pass over a document
constexpr size_t kDocuments = 256;             // documents that stay in the CPU's cache for all queries
constexpr size_t kLanes = 16;                  // partial sums, in a fixed order that suits vector units
constexpr size_t kMostHits = size_t{1} << 26;  // of all threads together, before they become fewer

struct Product {
  static float term(float a, float b) { return a * b; }
};
struct SquaredDifference {
  static float term(float a, float b) { return (a - b) * (a - b); }
};
struct AbsoluteDifference {
  static float term(float a, float b) { return std::abs(a - b); }
};

// Sums of terms over the dimensions. The order of summation does not depend on the block, so equal documents get equal scores.
template <class Term, size_t N>
void sums_of(const float* const* queries, const float* document, size_t dim, float* out) {
  float sums[N][kLanes] = {};
  const size_t whole = dim / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t q = 0; q < N; ++q) {
      for (size_t lane = 0; lane < kLanes; ++lane) sums[q][lane] += Term::term(queries[q][i + lane], document[i + lane]);
    }
  }
  for (size_t q = 0; q < N; ++q) {
    float total = 0;
    for (size_t lane = 0; lane < kLanes; ++lane) total += sums[q][lane];
    for (size_t i = whole; i < dim; ++i) total += Term::term(queries[q][i], document[i]);
    out[q] = total;
  }
}

// Similarities of N queries with one document; only the cosine needs the inverse norms.
template <size_t N>
void scores_of(Similarity similarity, const float* const* queries, const float* query_norms, const float* document, float document_norm,
               size_t dim, float* out) {
  switch (similarity) {
    case Similarity::dot: return sums_of<Product, N>(queries, document, dim, out);
    case Similarity::cosine:
      sums_of<Product, N>(queries, document, dim, out);
      for (size_t q = 0; q < N; ++q) out[q] = out[q] * query_norms[q] * document_norm;
      return;
    case Similarity::euclidean:
      sums_of<SquaredDifference, N>(queries, document, dim, out);
      for (size_t q = 0; q < N; ++q) out[q] = 0 - std::sqrt(out[q]);
      return;
    case Similarity::manhattan:
      sums_of<AbsoluteDifference, N>(queries, document, dim, out);
      for (size_t q = 0; q < N; ++q) out[q] = 0 - out[q];
      return;
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

size_t rows_of(std::span<const float> values, size_t dim, const char* what) {
  require(dim > 0, "[top_k] wants vectors of at least one dimension");
  require(values.size() % dim == 0, "[top_k] the ", what, " have ", values.size(), " values, no multiple of ", dim, " dimensions");
  return values.size() / dim;
}

constexpr struct {
  const char* name;
  Similarity similarity;
} measures[] = {
    {"cosine", Similarity::cosine}, {"dot", Similarity::dot}, {"euclidean", Similarity::euclidean}, {"manhattan", Similarity::manhattan}};

}  // namespace

Similarity measure_named(const std::string& name) {
  for (const auto& measure : measures)
    if (name == measure.name) return measure.similarity;
  fail("'", name, "' is no similarity; there are cosine, dot, euclidean and manhattan");
}

const char* name_of(Similarity similarity) {
  for (const auto& measure : measures)
    if (similarity == measure.similarity) return measure.name;
  return "";
}

TopKSearch::TopKSearch(std::span<const float> queries, size_t dim, const TopKOptions& options)
    : queries_(queries), dim_(dim), options_(options) {
  const size_t n = rows_of(queries, dim, "queries");
  query_norms_ = inverse_norms(queries, dim, options.similarity);
  query_norms_.resize((n + kQueries - 1) / kQueries * kQueries);
  const size_t most = kMostHits / std::max<size_t>(1, n * std::max<size_t>(1, options.k));
  options_.threads = static_cast<int>(std::clamp<size_t>(most, 1, static_cast<size_t>(std::max(1, options.threads))));
  threads_.assign(static_cast<size_t>(options_.threads), {std::vector<TopHits>(n, TopHits(options.k)), SIZE_MAX});
}

TopKSearch::~TopKSearch() = default;

// The documents from begin to end, which are rows of `documents`.
void TopKSearch::score_block(Thread& thread, std::span<const float> documents, size_t begin, size_t end) const {
  const size_t n = queries_.size() / dim_;
  const auto norms = inverse_norms(documents.subspan(begin * dim_, (end - begin) * dim_), dim_, options_.similarity);
  for (size_t first = 0; first < n; first += kQueries) {
    const size_t count = std::min(kQueries, n - first);
    const float* rows[kQueries];
    for (size_t q = 0; q < kQueries; ++q) rows[q] = queries_.data() + (first + std::min(q, count - 1)) * dim_;
    for (size_t d = begin; d < end; ++d) {
      float scores[kQueries];
      scores_of<kQueries>(options_.similarity, rows, query_norms_.data() + first, documents.data() + d * dim_, norms[d - begin], dim_,
                          scores);
      for (size_t q = 0; q < count; ++q) {
        if (!std::isfinite(scores[q])) thread.not_finite = std::min(thread.not_finite, documents_ + d);
        thread.best[first + q].offer({documents_ + d, scores[q]});
      }
    }
  }
}

void TopKSearch::add(std::span<const float> documents) {
  const size_t m = rows_of(documents, dim_, "documents");
  const auto blocks = static_cast<std::ptrdiff_t>((m + kDocuments - 1) / kDocuments);
  for (Thread& thread : threads_)
    for (TopHits& hits : thread.best) hits.reserve(documents_ + m);  // nothing may throw in the threads
#pragma omp parallel for schedule(static) num_threads(options_.threads)
  for (std::ptrdiff_t thread = 0; thread < options_.threads; ++thread) {
    const std::ptrdiff_t begin = blocks * thread / options_.threads, end = blocks * (thread + 1) / options_.threads;
    for (std::ptrdiff_t block = begin; block < end; ++block) {
      const size_t from = static_cast<size_t>(block) * kDocuments;
      score_block(threads_[static_cast<size_t>(thread)], documents, from, std::min(m, from + kDocuments));
    }
  }
  size_t not_finite = SIZE_MAX;
  for (const Thread& thread : threads_) not_finite = std::min(not_finite, thread.not_finite);
  require(not_finite == SIZE_MAX, "[top_k] the score of document ", not_finite, " is not finite: it or a query has NaN or infinite values");
  documents_ += m;
}

std::vector<std::vector<Hit>> TopKSearch::finish() {
  std::vector<TopHits>& best = threads_.front().best;
  for (size_t thread = 1; thread < threads_.size(); ++thread)
    for (size_t q = 0; q < best.size(); ++q)
      for (const Hit& hit : threads_[thread].best[q].hits()) best[q].offer(hit);
  std::vector<std::vector<Hit>> out;
  out.reserve(best.size());
  for (TopHits& hits : best) out.push_back(hits.sorted());
  return out;
}

std::vector<std::vector<Hit>> top_k(std::span<const float> queries, std::span<const float> documents, size_t dim,
                                    const TopKOptions& options) {
  TopKSearch search(queries, dim, options);
  search.add(documents);
  return search.finish();
}

std::vector<float> pairwise(std::span<const float> a, std::span<const float> b, size_t dim, Similarity similarity) {
  const size_t n = rows_of(a, dim, "left vectors"), m = rows_of(b, dim, "right vectors");
  require(n == m, "[pairwise] ", n, " vectors on the left, ", m, " on the right");
  const auto left = inverse_norms(a, dim, similarity), right = inverse_norms(b, dim, similarity);
  std::vector<float> out(n);
  for (size_t i = 0; i < n; ++i) {
    const float* row = a.data() + i * dim;
    scores_of<1>(similarity, &row, &left[i], b.data() + i * dim, right[i], dim, &out[i]);
  }
  return out;
}

}  // namespace m2bert::search
