#pragma once
// BM25, exact and in memory: Lucene's form of the formula of Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
// Beyond" (2009).
//
//   score(query, document) = sum over the query's terms t of  idf(t) * f / (f + k1 * (1 - b + b * length / mean length))
//   idf(t) = ln(1 + (N - n + 0.5) / (n + 0.5))
//
// f: how often t occurs in the document; N documents, of which n have t. A term that occurs twice in the query counts twice. Lengths are
// exact; Lucene itself rounds them to a byte.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "m2bert/search/analyzer.h"
#include "m2bert/search/top_k.h"

namespace m2bert::search {

struct Bm25Options {
  double k1 = 0.9, b = 0.4;  // Anserini's, with which BEIR's BM25 scores were computed; Lucene's own are 1.2 and 0.75
  AnalyzerOptions analyzer;
};

// Add the documents, then build(), then search.
class Bm25 {
 public:
  // Error: k1 is negative or not finite, b is not between 0 and 1.
  explicit Bm25(const Bm25Options& options = {});

  // Adds documents; their indices are their numbers in the order in which they come. Analyzes them in `threads` threads.
  void add(std::span<const std::string> documents, int threads = 1);
  // The same with their terms.
  void add_terms(std::span<const std::string> terms);
  // Computes what the terms contribute to the documents. Nothing can be added afterwards.
  void build();

  // The best k documents, best first, equal scores in the order of the documents. Documents without any of the query's terms are no hits,
  // so there may be fewer. build() must have been called. Thread-safe.
  std::vector<Hit> search(std::string_view query, size_t k) const;
  std::vector<Hit> search_terms(std::span<const std::string> terms, size_t k) const;
  // The same for each query, in `threads` threads.
  std::vector<std::vector<Hit>> search(std::span<const std::string> queries, size_t k, int threads) const;

  size_t documents() const { return lengths_.size(); }
  size_t terms() const { return ids_.size(); }

 private:
  struct Posting {
    uint32_t document;
    float weight;  // the count of the term; after build() its contribution to the score
  };
  struct Scratch;
  std::vector<Hit> search_terms(std::span<const std::string> terms, size_t k, Scratch& scratch) const;

  Bm25Options options_;
  std::unordered_map<std::string, uint32_t> ids_;
  std::vector<std::vector<Posting>> postings_;  // of each term, in the order of the documents
  std::vector<uint32_t> lengths_;               // of each document, in terms
  bool built_ = false;
};

}  // namespace m2bert::search
