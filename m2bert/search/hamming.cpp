#include "m2bert/search/hamming.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "m2bert/error.h"
#include "m2bert/search/top_hits.h"

namespace m2bert::search {
namespace {

constexpr size_t kBlock = 1024;  // documents that stay in the CPU's cache for all queries

// The bits of a row as whole words, with zeros at the end.
void to_words(const uint8_t* row, size_t bytes, uint8_t flip, uint64_t* out, size_t words) {
  if (words > 0) out[words - 1] = 0;
  std::memcpy(out, row, bytes);
  if (flip == 0) return;
  auto* each = reinterpret_cast<uint8_t*>(out);
  for (size_t i = 0; i < bytes; ++i) each[i] ^= flip;
}

inline void distances_of(const uint64_t* query, const uint64_t* documents, size_t count, size_t words, uint32_t* out) {
  for (size_t d = 0; d < count; ++d) {
    uint32_t bits = 0;
    for (size_t w = 0; w < words; ++w) bits += static_cast<uint32_t>(std::popcount(query[w] ^ documents[d * words + w]));
    out[d] = bits;
  }
}

#if defined(__x86_64__) && defined(__GNUC__)
// The baseline of x86-64 has no instruction that counts bits.
__attribute__((target("popcnt"))) void distances_popcnt(const uint64_t* query, const uint64_t* documents, size_t count, size_t words,
                                                        uint32_t* out) {
  for (size_t d = 0; d < count; ++d) {
    uint32_t bits = 0;
    for (size_t w = 0; w < words; ++w) bits += static_cast<uint32_t>(__builtin_popcountll(query[w] ^ documents[d * words + w]));
    out[d] = bits;
  }
}

void distances(const uint64_t* query, const uint64_t* documents, size_t count, size_t words, uint32_t* out) {
  static const bool counts = __builtin_cpu_supports("popcnt");
  return counts ? distances_popcnt(query, documents, count, words, out) : distances_of(query, documents, count, words, out);
}
#else
void distances(const uint64_t* query, const uint64_t* documents, size_t count, size_t words, uint32_t* out) {
  distances_of(query, documents, count, words, out);
}
#endif

}  // namespace

struct HammingSearch::Thread {
  std::vector<TopHits> best;       // of each query
  std::vector<uint8_t> rows;       // [kBlock, bytes], for documents that are packed here
  std::vector<uint64_t> block;     // [kBlock, words]
  std::vector<uint32_t> distance;  // [kBlock]
};

HammingSearch::HammingSearch(std::span<const float> queries, size_t dim, size_t k, int threads)
    : dim_(dim), words_((dim + 63) / 64), threads_(std::max(1, threads)) {
  const Quantizer pack(Precision::ubinary, dim);
  const std::vector<uint8_t> rows = pack.encode(queries);
  queries_count_ = queries.size() / dim;
  queries_.resize(queries_count_ * words_);
  for (size_t q = 0; q < queries_count_; ++q)
    to_words(rows.data() + q * pack.row_bytes(), pack.row_bytes(), 0, queries_.data() + q * words_, words_);
  found_.assign(static_cast<size_t>(threads_),
                {std::vector<TopHits>(queries_count_, TopHits(k)), std::vector<uint8_t>(kBlock * pack.row_bytes()),
                 std::vector<uint64_t>(kBlock * words_), std::vector<uint32_t>(kBlock)});
}

HammingSearch::~HammingSearch() = default;

void HammingSearch::add(std::span<const float> documents) {
  require(documents.size() % dim_ == 0, "[HammingSearch] ", documents.size(), " values are no vectors of ", dim_, " dimensions");
  const Quantizer pack(Precision::ubinary, dim_);
  const size_t bytes = pack.row_bytes();
  add_blocks(documents.size() / dim_, [&](size_t first, size_t count, Thread& thread) {
    pack.encode_into(documents.subspan(first * dim_, count * dim_), thread.rows.data());
    for (size_t d = 0; d < count; ++d) to_words(thread.rows.data() + d * bytes, bytes, 0, thread.block.data() + d * words_, words_);
  });
}

void HammingSearch::add(std::span<const uint8_t> rows, Precision precision) {
  require(is_binary(precision), "[HammingSearch] wants binary or ubinary rows, got ", name_of(precision));
  const size_t bytes = bytes_of(precision, dim_), documents = rows.size() / bytes;
  require(rows.size() == documents * bytes, "[HammingSearch] ", rows.size(), " bytes are no rows of ", bytes);
  const uint8_t flip = precision == Precision::binary ? 0x80 : 0;
  add_blocks(documents, [&](size_t first, size_t count, Thread& thread) {
    for (size_t d = 0; d < count; ++d) to_words(rows.data() + (first + d) * bytes, bytes, flip, thread.block.data() + d * words_, words_);
  });
}

void HammingSearch::add_blocks(size_t documents, const ReadBlock& read) {
  const auto blocks = static_cast<std::ptrdiff_t>((documents + kBlock - 1) / kBlock);
  for (Thread& thread : found_)
    for (TopHits& hits : thread.best) hits.reserve(documents_ + documents);  // nothing may throw in the threads
#pragma omp parallel for schedule(static) num_threads(threads_)
  for (std::ptrdiff_t t = 0; t < threads_; ++t) {
    Thread& thread = found_[static_cast<size_t>(t)];
    for (std::ptrdiff_t block = blocks * t / threads_; block < blocks * (t + 1) / threads_; ++block) {
      const size_t first = static_cast<size_t>(block) * kBlock, count = std::min(kBlock, documents - first);
      read(first, count, thread);
      for (size_t q = 0; q < queries_count_; ++q) {
        distances(queries_.data() + q * words_, thread.block.data(), count, words_, thread.distance.data());
        for (size_t d = 0; d < count; ++d) thread.best[q].offer({documents_ + first + d, 0 - static_cast<float>(thread.distance[d])});
      }
    }
  }
  documents_ += documents;
}

std::vector<std::vector<Hit>> HammingSearch::finish() {
  std::vector<std::vector<Hit>> out;
  for (size_t q = 0; q < queries_count_; ++q) {
    TopHits& best = found_.front().best[q];
    for (size_t t = 1; t < found_.size(); ++t)
      for (const Hit& hit : found_[t].best[q].hits()) best.offer(hit);
    out.push_back(best.sorted());
  }
  return out;
}

std::vector<std::vector<Hit>> rescore(std::span<const float> queries, size_t dim, const std::vector<std::vector<Hit>>& candidates,
                                      const ReadDocument& read, const TopKOptions& options) {
  require(queries.size() == candidates.size() * dim, "[rescore] ", candidates.size(), " lists of candidates, and ", queries.size(),
          " values of queries of ", dim, " dimensions");
  std::vector<std::vector<Hit>> out;
  for (size_t q = 0; q < candidates.size(); ++q) {
    std::vector<size_t> rows;
    for (const Hit& hit : candidates[q]) rows.push_back(hit.index);
    std::sort(rows.begin(), rows.end());
    std::vector<float> documents(rows.size() * dim);
    for (size_t i = 0; i < rows.size(); ++i) read(rows[i], std::span(documents).subspan(i * dim, dim));
    out.push_back(top_k(queries.subspan(q * dim, dim), documents, dim, options).front());
    for (Hit& hit : out.back()) hit.index = rows[hit.index];
  }
  return out;
}

}  // namespace m2bert::search
