#include "m2bert/search/top_k.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
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

double cosine(const float* a, const float* b, size_t dim) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < dim; ++i) ab += double(a[i]) * b[i], aa += double(a[i]) * a[i], bb += double(b[i]) * b[i];
  return ab / std::sqrt(aa * bb);
}

TEST(TopK, FindsWhatAFullSortFinds) {
  for (size_t dim : {1u, 3u, 16u, 33u, 384u}) {
    for (size_t n : {1u, 3u, 4u, 5u, 9u}) {
      const size_t m = 600;
      const auto queries = random_rows(n, dim, 1), documents = random_rows(m, dim, 2);
      const auto got = top_k(queries, documents, dim, {.k = 7, .threads = 2});
      ASSERT_EQ(got.size(), n);
      for (size_t q = 0; q < n; ++q) {
        std::vector<double> all(m);
        for (size_t d = 0; d < m; ++d) all[d] = cosine(&queries[q * dim], &documents[d * dim], dim);
        std::vector<double> sorted = all;
        std::sort(sorted.rbegin(), sorted.rend());
        ASSERT_EQ(got[q].size(), 7u);
        for (size_t k = 0; k < 7; ++k) {
          EXPECT_NEAR(got[q][k].score, sorted[k], 1e-5);
          EXPECT_NEAR(all[got[q][k].index], sorted[k], 1e-5);
        }
      }
    }
  }
}

TEST(TopK, EqualScoresKeepTheOrderOfTheDocuments) {
  const size_t dim = 19, m = 1000;
  const auto query = random_rows(1, dim, 3);
  std::vector<float> documents;
  for (size_t d = 0; d < m; ++d) documents.insert(documents.end(), query.begin(), query.end());
  const auto hits = top_k(query, documents, dim, {.k = 300})[0];
  ASSERT_EQ(hits.size(), 300u);
  for (size_t k = 0; k < hits.size(); ++k) EXPECT_EQ(hits[k].index, k);
}

TEST(TopK, ThreadsDoNotChangeTheAnswer) {
  const auto queries = random_rows(37, 50, 4), documents = random_rows(1111, 50, 5);
  EXPECT_EQ(top_k(queries, documents, 50, {.k = 20, .threads = 1}), top_k(queries, documents, 50, {.k = 20, .threads = 3}));
}

TEST(TopK, EdgeCases) {
  const auto documents = random_rows(3, 4, 6);
  EXPECT_EQ(top_k(random_rows(1, 4, 7), documents, 4, {.k = 10})[0].size(), 3u);
  EXPECT_EQ(top_k(random_rows(1, 4, 7), documents, 4, {.k = 0})[0].size(), 0u);
  EXPECT_EQ(top_k({}, documents, 4).size(), 0u);
  EXPECT_EQ(top_k(random_rows(2, 4, 7), {}, 4)[1].size(), 0u);
  EXPECT_THROW(top_k(random_rows(1, 4, 7), random_rows(1, 3, 7), 4), Error);
  EXPECT_THROW(top_k(random_rows(1, 4, 7), documents, 0), Error);
}

TEST(TopK, DotAndZeroAndNaN) {
  const std::vector<float> query = {2, 0}, documents = {1, 0, 3, 0, 0, 0, -1, 0};
  const auto dot = top_k(query, documents, 2, {.k = 4, .similarity = Similarity::dot})[0];
  EXPECT_EQ(dot, (std::vector<Hit>{{1, 6}, {0, 2}, {2, 0}, {3, -2}}));
  const auto cos = top_k(query, documents, 2, {.k = 4})[0];
  EXPECT_EQ(cos, (std::vector<Hit>{{0, 1}, {1, 1}, {2, 0}, {3, -1}}));
  const std::vector<float> bad = {NAN, 0, 1, 0};
  EXPECT_THROW(top_k(query, bad, 2), Error);
  const std::vector<float> infinite = {INFINITY, 0};
  EXPECT_THROW(top_k(query, infinite, 2, {.similarity = Similarity::dot}), Error);
}

// The values are those of sentence-transformers' euclidean_sim and manhattan_sim.
TEST(TopK, DistancesCountNegative) {
  const std::vector<float> query = {1, 2, 3}, documents = {1, 2, 3, 4, 6, 3, 0, 0, 0};
  const auto euclidean = top_k(query, documents, 3, {.k = 3, .similarity = Similarity::euclidean})[0];
  EXPECT_EQ(euclidean, (std::vector<Hit>{{0, 0}, {2, -std::sqrt(14.0f)}, {1, -5}}));
  EXPECT_FALSE(std::signbit(euclidean[0].score));
  const auto manhattan = top_k(query, documents, 3, {.k = 3, .similarity = Similarity::manhattan})[0];
  EXPECT_EQ(manhattan, (std::vector<Hit>{{0, 0}, {2, -6}, {1, -7}}));
  const std::vector<float> far = {4, 6, 3};
  EXPECT_EQ(pairwise(query, far, 3, Similarity::euclidean), std::vector<float>{-5});
  EXPECT_EQ(pairwise(query, far, 3, Similarity::manhattan), std::vector<float>{-7});
  const auto wide = random_rows(2, 100, 10);
  double sum = 0;
  for (size_t i = 0; i < 100; ++i) sum += std::abs(double(wide[i]) - wide[100 + i]);
  EXPECT_NEAR(pairwise(std::span(wide).first(100), std::span(wide).last(100), 100, Similarity::manhattan)[0], -sum, 1e-4);
}

TEST(TopK, PiecesGiveWhatAllAtOnceGives) {
  const size_t dim = 24;
  const auto queries = random_rows(6, dim, 11), documents = random_rows(3000, dim, 12);
  for (const char* name : {"cosine", "dot", "euclidean", "manhattan"}) {
    const TopKOptions how{.k = 40, .similarity = measure_named(name), .threads = 3};
    EXPECT_STREQ(name_of(how.similarity), name);
    TopKSearch search(queries, dim, how);
    for (size_t from = 0, size = 1; from < 3000; from += size, size = std::min<size_t>(size * 3, 3000 - from))
      search.add(std::span(documents).subspan(from * dim, size * dim));
    EXPECT_EQ(search.finish(), top_k(queries, documents, dim, how)) << name;
  }
  EXPECT_THROW(measure_named("hamming"), Error);
}

TEST(TopK, NamesTheDocumentThatIsNotFinite) {
  auto documents = random_rows(1000, 4, 13);
  documents[700 * 4 + 2] = NAN;
  const auto queries = random_rows(1, 4, 14);
  for (const char* name : {"cosine", "dot", "euclidean", "manhattan"}) {
    try {
      top_k(queries, documents, 4, {.similarity = measure_named(name), .threads = 2});
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("document 700 "), std::string::npos) << error.what();
    }
  }
}

TEST(Pairwise, ComparesRowByRow) {
  const auto a = random_rows(5, 20, 8), b = random_rows(5, 20, 9);
  const auto got = pairwise(a, b, 20);
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(got[i], cosine(&a[i * 20], &b[i * 20], 20), 1e-6);
  EXPECT_THROW(pairwise(a, random_rows(4, 20, 1), 20), Error);
}

}  // namespace
}  // namespace m2bert::search
