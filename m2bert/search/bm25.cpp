#include "m2bert/search/bm25.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "m2bert/error.h"
#include "m2bert/search/top_hits.h"

namespace m2bert::search {

// What one thread needs for a search.
struct Bm25::Scratch {
  std::vector<float> scores;      // of each document; zeros between two searches
  std::vector<uint32_t> touched;  // documents with a score
};

Bm25::Bm25(const Bm25Options& options) : options_(options) {
  require(std::isfinite(options.k1) && options.k1 >= 0, "[bm25] k1 is ", options.k1, ", and must not be negative");
  require(options.b >= 0 && options.b <= 1, "[bm25] b is ", options.b, ", and must be between 0 and 1");
}

void Bm25::add(std::span<const std::string> documents, int threads) {
  std::vector<std::vector<std::string>> terms(documents.size());
  const auto count = static_cast<std::ptrdiff_t>(documents.size());
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (std::ptrdiff_t i = 0; i < count; ++i) terms[static_cast<size_t>(i)] = analyze(documents[static_cast<size_t>(i)], options_.analyzer);
  for (const auto& of_document : terms) add_terms(of_document);
}

void Bm25::add_terms(std::span<const std::string> terms) {
  require(!built_, "[bm25] documents cannot be added after build()");
  require(lengths_.size() < UINT32_MAX && terms.size() < UINT32_MAX, "[bm25] too many documents or terms");
  const auto document = static_cast<uint32_t>(lengths_.size());
  for (const std::string& term : terms) {
    const uint32_t id = ids_.try_emplace(term, static_cast<uint32_t>(ids_.size())).first->second;
    if (id == postings_.size()) postings_.emplace_back();
    auto& list = postings_[id];
    if (list.empty() || list.back().document != document) list.push_back({document, 0});
    list.back().weight += 1;
  }
  lengths_.push_back(static_cast<uint32_t>(terms.size()));
}

void Bm25::build() {
  require(!built_, "[bm25] build() was called before");
  built_ = true;
  const auto count = static_cast<double>(lengths_.size());
  const double mean = std::accumulate(lengths_.begin(), lengths_.end(), 0.0) / count;
  for (auto& list : postings_) {
    list.shrink_to_fit();
    const auto having = static_cast<double>(list.size());
    const double idf = std::log1p((count - having + 0.5) / (having + 0.5));
    for (Posting& posting : list) {
      const double frequency = posting.weight, length = lengths_[posting.document];
      posting.weight = static_cast<float>(idf * frequency / (frequency + options_.k1 * (1 - options_.b + options_.b * length / mean)));
    }
  }
}

std::vector<Hit> Bm25::search_terms(std::span<const std::string> terms, size_t k, Scratch& scratch) const {
  scratch.scores.resize(lengths_.size());
  scratch.touched.clear();
  for (const std::string& term : terms) {
    const auto found = ids_.find(term);
    if (found == ids_.end()) continue;
    for (const auto& [document, weight] : postings_[found->second]) {
      if (scratch.scores[document] == 0) scratch.touched.push_back(document);
      scratch.scores[document] += weight;
    }
  }
  std::vector<Hit> hits;
  hits.reserve(scratch.touched.size());
  for (const uint32_t document : scratch.touched) {
    hits.push_back({document, scratch.scores[document]});
    scratch.scores[document] = 0;
  }
  const auto end = hits.begin() + static_cast<std::ptrdiff_t>(std::min(k, hits.size()));
  std::partial_sort(hits.begin(), end, hits.end(), better);
  hits.erase(end, hits.end());
  hits.shrink_to_fit();
  return hits;
}

std::vector<Hit> Bm25::search_terms(std::span<const std::string> terms, size_t k) const {
  require(built_, "[bm25] build() must be called before a search");
  Scratch scratch;
  return search_terms(terms, k, scratch);
}

std::vector<Hit> Bm25::search(std::string_view query, size_t k) const { return search_terms(analyze(query, options_.analyzer), k); }

std::vector<std::vector<Hit>> Bm25::search(std::span<const std::string> queries, size_t k, int threads) const {
  require(built_, "[bm25] build() must be called before a search");
  std::vector<std::vector<Hit>> hits(queries.size());
  const auto count = static_cast<std::ptrdiff_t>(queries.size());
#pragma omp parallel num_threads(threads)
  {
    Scratch scratch;
#pragma omp for schedule(dynamic)
    for (std::ptrdiff_t i = 0; i < count; ++i) {
      const auto query = static_cast<size_t>(i);
      hits[query] = search_terms(analyze(queries[query], options_.analyzer), k, scratch);
    }
  }
  return hits;
}

}  // namespace m2bert::search
