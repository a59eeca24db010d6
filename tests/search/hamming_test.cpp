#include "m2bert/search/hamming.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "m2bert/error.h"

namespace m2bert::search {
namespace {

std::vector<float> random_rows(size_t rows, size_t dim, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(rows * dim);
  for (float& value : out) value = normal(random);
  return out;
}

// The plain definition.
std::vector<Hit> nearest(std::span<const float> query, const std::vector<float>& documents, size_t k) {
  const size_t dim = query.size();
  std::vector<Hit> hits;
  for (size_t d = 0; d < documents.size() / dim; ++d) {
    float different = 0;
    for (size_t i = 0; i < dim; ++i) different += (query[i] > 0) != (documents[d * dim + i] > 0) ? 1.0f : 0.0f;
    hits.push_back({d, 0 - different});
  }
  std::stable_sort(hits.begin(), hits.end(), [](const Hit& a, const Hit& b) { return a.score > b.score; });
  hits.resize(std::min(k, hits.size()));
  return hits;
}

TEST(HammingSearch, FindsTheMostEqualBits) {
  for (const size_t dim : {1u, 7u, 64u, 100u, 384u}) {
    const auto queries = random_rows(5, dim, 1), documents = random_rows(3001, dim, 2);
    for (const int threads : {1, 3}) {
      HammingSearch search(queries, dim, 20, threads);
      search.add(std::span(documents).first(1000 * dim));
      search.add(std::span(documents).subspan(1000 * dim));
      const auto hits = search.finish();
      ASSERT_EQ(hits.size(), 5u);
      for (size_t q = 0; q < 5; ++q) EXPECT_EQ(hits[q], nearest(std::span(queries).subspan(q * dim, dim), documents, 20)) << dim;
    }
  }
}

TEST(HammingSearch, TakesStoredBits) {
  const size_t dim = 100;
  const auto queries = random_rows(3, dim, 3), documents = random_rows(500, dim, 4);
  HammingSearch floats(queries, dim, 9);
  floats.add(documents);
  const auto expected = floats.finish();
  for (const Precision precision : {Precision::binary, Precision::ubinary}) {
    HammingSearch search(queries, dim, 9);
    search.add(Quantizer(precision, dim).encode(documents), precision);
    EXPECT_EQ(search.finish(), expected);
  }
  HammingSearch search(queries, dim, 9);
  EXPECT_THROW(search.add(std::vector<uint8_t>(100), Precision::int8), Error);
  EXPECT_THROW(search.add(std::vector<uint8_t>(14), Precision::ubinary), Error);
  EXPECT_TRUE(search.finish()[2].empty());
}

TEST(Rescore, OrdersTheCandidatesByTheirValues) {
  const size_t dim = 32;
  const auto queries = random_rows(4, dim, 5), documents = random_rows(800, dim, 6);
  const ReadDocument read = [&](size_t row, std::span<float> out) {
    std::copy_n(documents.begin() + static_cast<std::ptrdiff_t>(row * dim), dim, out.begin());
  };
  const auto candidates = [&](size_t count) {
    HammingSearch search(queries, dim, count);
    search.add(documents);
    return search.finish();
  };
  for (const Similarity similarity : {Similarity::cosine, Similarity::dot}) {
    const TopKOptions how{.k = 10, .similarity = similarity};
    EXPECT_EQ(rescore(queries, dim, candidates(800), read, how), top_k(queries, documents, dim, how));
    const auto few = candidates(40), best = rescore(queries, dim, few, read, how);
    for (size_t q = 0; q < 4; ++q) {
      ASSERT_EQ(best[q].size(), 10u);
      for (const Hit& hit : best[q])
        EXPECT_TRUE(std::ranges::any_of(few[q], [&](const Hit& candidate) { return candidate.index == hit.index; }));
      EXPECT_TRUE(std::ranges::is_sorted(best[q], std::greater(), &Hit::score));
    }
  }
  EXPECT_THROW(rescore(queries, dim, {{}}, read, {}), Error);
  EXPECT_TRUE(rescore(std::span(queries).first(dim), dim, {{}}, read, {})[0].empty());
}

}  // namespace
}  // namespace m2bert::search
