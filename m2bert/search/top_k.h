#pragma once
// Exact nearest-neighbour search: scores every document, in blocks.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace m2bert::search {

// The similarity of two vectors, greater for closer ones: sentence-transformers' functions, where a distance counts negative.
enum class Similarity { dot, cosine, euclidean, manhattan };

// "cosine", "dot", "euclidean", "manhattan". Error for any other name.
Similarity measure_named(const std::string& name);
const char* name_of(Similarity similarity);

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

// A search over documents that come in pieces.
class TopKSearch {
 public:
  // queries: [n, dim], row-major; must outlive the search. Error: their size is no multiple of dim.
  TopKSearch(std::span<const float> queries, size_t dim, const TopKOptions& options);
  ~TopKSearch();
  TopKSearch(const TopKSearch&) = delete;
  TopKSearch& operator=(const TopKSearch&) = delete;

  // Scores more documents [m, dim]. Error: their size is no multiple of dim; a score is not finite (names the first such document).
  void add(std::span<const float> documents);
  // The best k hits of each query, or all if there are fewer documents; best first, equal scores in the order of the documents.
  std::vector<std::vector<Hit>> finish();

 private:
  struct Thread;
  void score_block(Thread& thread, std::span<const float> documents, size_t begin, size_t end) const;

  std::span<const float> queries_;
  size_t dim_;
  TopKOptions options_;
  std::vector<float> query_norms_;
  std::vector<Thread> threads_;
  size_t documents_ = 0;  // added so far
};

// The same for all documents [m, dim] at once. The cosine with a zero vector is 0.
std::vector<std::vector<Hit>> top_k(std::span<const float> queries, std::span<const float> documents, size_t dim,
                                    const TopKOptions& options = {});

// Similarity of row i of a with row i of b, for all i.
std::vector<float> pairwise(std::span<const float> a, std::span<const float> b, size_t dim, Similarity similarity = Similarity::cosine);

}  // namespace m2bert::search
