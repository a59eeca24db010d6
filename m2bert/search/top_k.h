#pragma once
// Exact nearest-neighbour search: scores every document, in blocks.
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

// queries [n, dim] and documents [m, dim], row-major. Returns the min(k, m) best hits of each query, best first; equal scores in
// the order of the documents. The cosine with a zero vector is 0. Throws for sizes that are not a multiple of dim, and scores that are not
// finite.
std::vector<std::vector<Hit>> top_k(std::span<const float> queries, std::span<const float> documents, size_t dim,
                                    const TopKOptions& options = {});

// Similarity of row i of a with row i of b, for all i.
std::vector<float> pairwise(std::span<const float> a, std::span<const float> b, size_t dim, Similarity similarity = Similarity::cosine);

}  // namespace m2bert::search
