#pragma once
// Search by the signs of the values: the Hamming distance of packed bits, and rescoring of the best by the values themselves. This is
// sentence-transformers' semantic_search_faiss and semantic_search_usearch with rescore=True.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "m2bert/search/quantize.h"
#include "m2bert/search/top_k.h"

namespace m2bert::search {

// A search over documents that come in pieces, on all threads. Exact: it compares every document.
class HammingSearch {
 public:
  // queries: [n, dim] float32. k: documents kept for each query. Error: the size of the queries is no multiple of dim.
  HammingSearch(std::span<const float> queries, size_t dim, size_t k, int threads = 1);
  ~HammingSearch();
  HammingSearch(const HammingSearch&) = delete;
  HammingSearch& operator=(const HammingSearch&) = delete;

  // More documents: vectors [m, dim] ...
  void add(std::span<const float> documents);
  // ... or the rows of a Quantizer, m * bytes_of(precision, dim) bytes. Error for a precision that is not binary or ubinary.
  void add(std::span<const uint8_t> rows, Precision precision);
  // The k documents of each query with the most equal bits, best first, equal ones in the order of the documents. The score is the negative
  // number of bits that differ.
  std::vector<std::vector<Hit>> finish();

 private:
  struct Thread;
  // Writes the packed bits of documents [first, first + count) into the thread's block.
  using ReadBlock = std::function<void(size_t first, size_t count, Thread& thread)>;
  void add_blocks(size_t documents, const ReadBlock& read);

  size_t dim_, words_, queries_count_;
  int threads_;
  std::vector<uint64_t> queries_;  // [n, words], the packed bits
  std::vector<Thread> found_;      // by each thread
  size_t documents_ = 0;           // added so far
};

// The values of a document as float32 [dim].
using ReadDocument = std::function<void(size_t index, std::span<float> out)>;

// Scores the candidates of each query [n, dim] by the query's float32 values and the documents', and returns the best options.k of each,
// equal scores in the order of the documents. For binary documents, sentence-transformers scores by the dot product with their bits.
std::vector<std::vector<Hit>> rescore(std::span<const float> queries, size_t dim, const std::vector<std::vector<Hit>>& candidates,
                                      const ReadDocument& read, const TopKOptions& options);

}  // namespace m2bert::search
