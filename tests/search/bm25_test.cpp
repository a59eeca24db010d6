#include "m2bert/search/bm25.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tests/support/scratch.h"

namespace m2bert::search {
namespace {

using test::error_of;
using test::has;
using Terms = std::vector<std::string>;

const Terms kDocuments = {"a cat sat on the mat", "the dog ate the cat", "", "birds fly", "the cat and the other cat"};

Bm25 index_of(const Terms& documents, const Bm25Options& options = {}) {
  Bm25 index(options);
  index.add(documents);
  index.build();
  return index;
}

// The formula, document by document.
double score_of(const Terms& documents, const std::string& query, size_t document, double k1, double b) {
  double total = 0;
  for (const auto& each : documents) total += static_cast<double>(analyze(each).size());
  const double mean = total / static_cast<double>(documents.size());
  double score = 0;
  for (const std::string& term : analyze(query)) {
    double having = 0;
    for (const auto& each : documents) {
      const Terms terms = analyze(each);
      having += std::ranges::find(terms, term) != terms.end();
    }
    const Terms terms = analyze(documents[document]);
    const auto frequency = static_cast<double>(std::ranges::count(terms, term));
    if (frequency == 0) continue;
    const double idf = std::log(1 + (static_cast<double>(documents.size()) - having + 0.5) / (having + 0.5));
    score += idf * frequency / (frequency + k1 * (1 - b + b * static_cast<double>(terms.size()) / mean));
  }
  return score;
}

TEST(Bm25, IsTheFormula) {
  for (const auto& [k1, b] : {std::pair(0.9, 0.4), std::pair(1.2, 0.75), std::pair(0.0, 0.0), std::pair(2.0, 1.0)}) {
    const Bm25 index = index_of(kDocuments, {k1, b, {}});
    for (const char* query : {"cat", "the cat", "cat cat mat", "birds and dogs", "unknown"}) {
      std::map<size_t, float> found;
      for (const Hit& hit : index.search(query, 100)) found[hit.index] = hit.score;
      for (size_t document = 0; document < kDocuments.size(); ++document) {
        const double expected = score_of(kDocuments, query, document, k1, b);
        EXPECT_EQ(found.contains(document), expected > 0);
        EXPECT_NEAR(found[document], expected, 1e-6) << query << ", document " << document;
      }
    }
  }
}

TEST(Bm25, BestFirstAndTiesInTheOrderOfTheDocuments) {
  const Bm25 index = index_of({"x y", "x z", "y", "x x", "x w"});
  const auto hits = index.search("x", 3);
  ASSERT_EQ(hits.size(), 3U);
  EXPECT_EQ(hits[0].index, 3U);
  EXPECT_EQ(hits[1].index, 0U);
  EXPECT_EQ(hits[2].index, 1U);
  EXPECT_EQ(hits[1].score, hits[2].score);
  EXPECT_TRUE(index.search("x", 0).empty());
}

TEST(Bm25, ThreadsAndPiecesDoNotChangeAnything) {
  Terms documents, queries;
  for (int i = 0; i < 500; ++i) {
    std::string text;
    for (int word = 0; word <= i % 13; ++word) text += "w" + std::to_string((i * 7 + word * word) % 40) + " ";
    documents.push_back(text);
    if (i % 5 == 0) queries.push_back(text);
  }
  const Bm25 whole = index_of(documents);
  Bm25 pieces;
  for (size_t i = 0; i < documents.size(); i += 99)
    pieces.add(std::span(documents).subspan(i, std::min<size_t>(99, documents.size() - i)), 3);
  pieces.build();
  const auto hits = pieces.search(queries, 20, 4);
  ASSERT_EQ(hits.size(), queries.size());
  for (size_t i = 0; i < queries.size(); ++i) EXPECT_EQ(hits[i], whole.search(queries[i], 20));
}

TEST(Bm25, EnglishTermsMeet) {
  const Bm25 index = index_of({"Monarchs are migrating", "the moths"}, {.analyzer = {.english = true}});
  ASSERT_EQ(index.search("a monarch's migration", 10).size(), 1U);
  EXPECT_TRUE(index.search("the", 10).empty());
}

TEST(Bm25, NothingToFind) {
  const Bm25 none = index_of({});
  EXPECT_EQ(none.documents(), 0U);
  EXPECT_TRUE(none.search("cat", 5).empty());
  EXPECT_TRUE(index_of({"", "..."}).search("cat", 5).empty());
}

TEST(Bm25, Errors) {
  EXPECT_PRED2(has, error_of([] { Bm25({.k1 = -1}); }), "k1 is -1");
  EXPECT_PRED2(has, error_of([] { Bm25({.b = 1.5}); }), "b is 1.5");
  EXPECT_PRED2(has, error_of([] { Bm25({.b = NAN}); }), "b is nan");
  Bm25 index;
  EXPECT_PRED2(has, error_of([&] { (void)index.search("cat", 1); }), "build() must be called");
  index.build();
  EXPECT_PRED2(has, error_of([&] { index.add(kDocuments); }), "cannot be added after build()");
}

}  // namespace
}  // namespace m2bert::search
