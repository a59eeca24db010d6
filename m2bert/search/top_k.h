#pragma once
// Exact nearest vectors: every document is scored, in blocks.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace m2bert::search {

enum class Similarity { dot, cosine };

struct Hit {
  size_t index;  // row of the document
  float score;
  bool operator==(const Hit&) const = default;
};

struct TopKOptions {
  size_t k = 10;
  Similarity similarity = Similarity::cosine;
  int threads = 1;
};

// queries [n, dim] and documents [m, dim], row-major. For each query the min(k, m) best, best first; equal scores in the
// documents' order. The cosine with a zero vector is 0. Errors: sizes that are no multiple of dim, scores that are not finite.
std::vector<std::vector<Hit>> top_k(std::span<const float> queries, std::span<const float> documents, size_t dim,
                                    const TopKOptions& options = {});

// Similarity of row i of a with row i of b, for all i.
std::vector<float> pairwise(std::span<const float> a, std::span<const float> b, size_t dim, Similarity similarity = Similarity::cosine);

}  // namespace m2bert::search
