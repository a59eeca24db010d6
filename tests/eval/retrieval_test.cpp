#include "m2bert/eval/retrieval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "m2bert/io/file.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::eval {
namespace {

using test::error_of;
using test::has;
using test::Scratch;
using test::sentence;
using test::tiny_models;

class ListedDocuments : public data::DocumentSource {
 public:
  explicit ListedDocuments(std::vector<data::Document> documents) : documents_(std::move(documents)) {}
  bool next(data::Document& document) override {
    if (at_ == documents_.size()) return false;
    document = documents_[at_++];
    return true;
  }
  const data::SkippedRecords& skipped() const override { return none_; }

 private:
  std::vector<data::Document> documents_;
  data::SkippedRecords none_;
  size_t at_ = 0;
};

data::RetrievalSet set_of(std::vector<data::Document> documents, std::vector<data::JudgedQuery> queries) {
  return {"set", std::move(queries), {}, [documents] { return std::make_unique<ListedDocuments>(documents); }};
}

std::vector<std::string> found(const IndexedSet& indexed, const std::vector<search::Hit>& hits) {
  std::vector<std::string> ids;
  for (const search::Hit& hit : hits) ids.push_back(indexed.ids[hit.index]);
  return ids;
}

using Ids = std::vector<std::string>;

TEST(Retrieval, Bm25RanksTitlesAndTexts) {
  const IndexedSet indexed = index_set(
      set_of({{"a", "", "cats"}, {"b", "cats", "and dogs, and cats again"}, {"c", "", "birds"}}, {{"q", "cats dogs", {{"b", 1}}}}));
  EXPECT_EQ(found(indexed, rank_bm25(indexed, {})[0]), (Ids{"b", "a"}));
  EXPECT_EQ(found(indexed, rank_bm25(indexed, {.depth = 1})[0]), (Ids{"b"}));
}

TEST(Retrieval, EqualScoresAreInTrecEvalsOrder) {
  const IndexedSet indexed = index_set(set_of({{"a", "", "cats"}, {"c", "", "cats"}, {"b", "", "cats"}}, {{"q", "cats", {{"b", 1}}}}));
  EXPECT_EQ(found(indexed, rank_bm25(indexed, {})[0]), (Ids{"c", "b", "a"}));
}

TEST(Retrieval, TheQuerysOwnDocumentIsDropped) {
  const IndexedSet indexed =
      index_set(set_of({{"x", "", "cats cats"}, {"y", "", "cats"}, {"z", "", "cats dogs"}}, {{"x", "cats", {{"y", 1}}}}));
  EXPECT_EQ(found(indexed, rank_bm25(indexed, {.depth = 2})[0]), (Ids{"y", "z"}));
  EXPECT_EQ(found(indexed, rank_bm25(indexed, {.depth = 2, .keep_own_id = true})[0]), (Ids{"x", "y"}));
}

TEST(Retrieval, MissingDocuments) {
  const auto set = set_of({{"a", "", "cats"}}, {{"q", "cats", {{"a", 1}, {"gone", 1}}}, {"r", "dogs", {{"gone", 1}}}});
  EXPECT_PRED2(has, error_of([&] { index_set(set); }),
               "set: the query q has a judgement of the document gone, which the corpus lacks; --missing-documents");
  const IndexedSet counted = index_set(set, {.missing = MissingDocuments::count}),
                   skipped = index_set(set, {.missing = MissingDocuments::skip});
  EXPECT_EQ(counted.missing, 2U);
  ASSERT_EQ(counted.set.queries.size(), 2U);
  ASSERT_EQ(skipped.set.queries.size(), 1U);
  const auto recall = [](const IndexedSet& indexed) {
    for (const auto& score : score_ranking(indexed, rank_bm25(indexed, {}), {10}))
      if (score.name == "Recall@10") return score.values;
    return std::vector<double>{};
  };
  EXPECT_EQ(recall(counted), (std::vector<double>{0.5, 0}));
  EXPECT_EQ(recall(skipped), (std::vector<double>{1}));
  EXPECT_PRED2(has, error_of([&] { index_set(set_of({}, {{"q", "x", {{"a", 1}}}})); }), "its corpus has no documents");
  EXPECT_PRED2(has, error_of([&] { index_set(set_of({{"b", "", "x"}}, {{"q", "x", {{"a", 1}}}}), {.missing = MissingDocuments::skip}); }),
               "no judgement names a document of the corpus");
}

TEST(Retrieval, ScoresAreThoseOfTheRanking) {
  const IndexedSet indexed =
      index_set(set_of({{"a", "", "x"}, {"b", "", "y"}, {"c", "", "z"}}, {{"q", "x", {{"a", 2}, {"c", 1}, {"b", 0}}}}));
  const Ranking ranking = {{{1, 3.0f}, {0, 2.0f}, {2, 1.0f}}};  // b, a, c
  std::map<std::string, double> scores;
  for (const auto& score : score_ranking(indexed, ranking, {1, 2, 3})) scores[score.name] = score.values.at(0);
  EXPECT_EQ(scores["nDCG@1"], 0);
  EXPECT_NEAR(scores["nDCG@3"], (2 / std::log2(3) + 1 / std::log2(4)) / (2 + 1 / std::log2(3)), 1e-12);
  EXPECT_NEAR(scores["MAP@3"], (1.0 / 2 + 2.0 / 3) / 2, 1e-12);
  EXPECT_NEAR(scores["MAP@2"], 0.25, 1e-12);
  EXPECT_EQ(scores["Recall@2"], 0.5);
  EXPECT_NEAR(scores["P@3"], 2.0 / 3, 1e-12);
  EXPECT_EQ(scores["MRR@3"], 0.5);
  EXPECT_EQ(scores["MRR@1"], 0);
}

TEST(Retrieval, VectorsRankAsTheirSimilaritiesDo) {
  const infer::Embedder model(models::load_pretrained(tiny_models().attention), {});
  std::vector<data::Document> documents;
  std::vector<std::string> texts;
  for (size_t i = 0; i < 700; ++i) {
    documents.push_back({"d" + std::to_string(i), sentence(i, 2), sentence(i + 1, 1 + i % 9)});
    texts.push_back(documents.back().title + " " + documents.back().text);
  }
  const IndexedSet indexed = index_set(set_of(documents, {{"q0", sentence(5, 4), {{"d1", 1}}}, {"q1", sentence(77, 6), {{"d2", 1}}}}));
  const CachedEmbedder cached(model, {});
  const VectorRanking result = rank_vectors(indexed, cached, {}, {.depth = 20, .threads = 2});
  const auto vectors = cached(texts, "").vectors;
  for (size_t q = 0; q < 2; ++q) {
    const auto query = model(std::vector<std::string>{indexed.set.queries[q].text}).vectors;
    auto expected = search::top_k(query, vectors, 16, {.k = 20})[0];
    ASSERT_EQ(result.ranking[q].size(), 20U);
    for (size_t i = 0; i < 20; ++i) EXPECT_NEAR(result.ranking[q][i].score, expected[i].score, 1e-5);
    EXPECT_EQ(result.ranking[q][0].index, expected[0].index);
  }
  const VectorRanking untitled = rank_vectors(indexed, cached, {.title = false}, {.depth = 20});
  EXPECT_NE(untitled.ranking, result.ranking);
}

TEST(Retrieval, RunFile) {
  const Scratch scratch;
  const IndexedSet indexed = index_set(set_of({{"a", "", "x"}, {"b", "", "y"}}, {{"q", "x", {{"a", 1}}}}));
  write_run(scratch / "run.txt", indexed, {{{1, 0.1f}, {0, -2.0f}}}, "model");
  EXPECT_EQ(io::read_file(scratch / "run.txt"), "q Q0 b 1 0.1 model\nq Q0 a 2 -2.0 model\n");
}

TEST(Retrieval, RowsHaveDifferencesAndMeans) {
  const SetScores one{"one", 2, 9, {{"model", {{"nDCG@10", {1, 0.5}}}}, {"BM25", {{"nDCG@10", {0.5, 0}}}}}};
  const SetScores two{"two", 1, 9, {{"model", {{"nDCG@10", {0.25}}}}, {"BM25", {{"nDCG@10", {0.5}}}}}};
  const auto rows = retrieval_rows({one, two}, metrics::Bootstrap{});
  ASSERT_EQ(rows.size(), 9U);
  const auto value = [&](size_t row) { return rows[row].scores.at(0).value; };
  EXPECT_EQ(rows[2].labels, (std::vector<std::string>{"one", "difference"}));
  EXPECT_EQ(value(0), 0.75);
  EXPECT_EQ(value(2), 0.5);
  EXPECT_EQ(rows[2].scores[0].interval->low, 0.5);  // the same in every resample: the queries are paired
  EXPECT_EQ(rows[2].scores[0].interval->high, 0.5);
  EXPECT_LT(rows[0].scores[0].interval->low, 0.75);
  EXPECT_EQ(rows[6].labels, (std::vector<std::string>{"mean", "model"}));
  EXPECT_EQ(value(6), 0.5);
  EXPECT_EQ(value(8), 0.125);
  const auto plain = retrieval_rows({one}, std::nullopt);
  EXPECT_EQ(plain.size(), 3U);
  EXPECT_FALSE(plain[0].scores[0].interval.has_value());
}

}  // namespace
}  // namespace m2bert::eval
