#include "m2bert/data/retrieval_negatives.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using Numbers = std::vector<uint32_t>;

// Passage 0 is the positive, with the score 0.8.
const std::vector<ScoredPassage> kRanked{{5, 0.9f}, {0, 0.8f}, {1, 0.78f}, {2, 0.7f}, {3, 0.5f}, {4, 0.1f}};
const Numbers kPositives{0};

Numbers chosen(const NegativeOptions& options, std::optional<float> positive = 0.8f) {
  return choose_negatives(kRanked, kPositives, positive, options, 0);
}

TEST(Negatives, RanksCountWithoutThePositives) {
  EXPECT_EQ(chosen({.per_query = 2}), (Numbers{5, 1}));
  EXPECT_EQ(chosen({.per_query = 2, .first_rank = 2}), (Numbers{2, 3}));
  EXPECT_EQ(chosen({.per_query = 9, .first_rank = 1, .last_rank = 3}), (Numbers{1, 2}));
}

TEST(Negatives, MarginsDropWhatIsTooCloseToThePositive) {
  EXPECT_EQ(chosen({.per_query = 9, .absolute_margin = 0.05f}), (Numbers{2, 3, 4}));
  EXPECT_EQ(chosen({.per_query = 9, .relative_margin = 0.3f}), (Numbers{3, 4}));
  EXPECT_EQ(chosen({.per_query = 9, .absolute_margin = 0.05f, .relative_margin = 0.3f}), (Numbers{3, 4}));
  EXPECT_EQ(chosen({.per_query = 1, .absolute_margin = 0.05f}, std::nullopt), (Numbers{5}));
}

TEST(Negatives, RandomOnesDependOnSeedAndSample) {
  auto of = [](uint64_t seed, uint64_t number) {
    return choose_negatives(kRanked, kPositives, {}, {.per_query = 3, .random = true, .seed = seed}, number);
  };
  EXPECT_EQ(of(1, 2), of(1, 2));
  bool differs = false;
  for (uint64_t i = 0; i < 8; ++i) {
    const auto found = of(1, i);
    EXPECT_EQ(found.size(), 3);
    EXPECT_EQ(std::ranges::count(found, 0u), 0);
    differs |= found != of(1, 0);
  }
  EXPECT_TRUE(differs);
}

RetrievalData three_queries() {
  RetrievalData data;
  data.add("q", {"p", "old"});
  data.add("r", {"s"});
  data.add("q", {"t"});
  data.add_passage("u");
  return data;
}

TEST(Negatives, MiningReplacesThoseOfEverySample) {
  auto data = three_queries();
  const auto corpus = data.corpus();
  int searches = 0;
  const auto missing = mine_negatives(data, {.per_query = 2, .absolute_margin = 0.5f}, [&](uint32_t) {
    ++searches;
    Ranking ranking;
    for (const auto passage : corpus) ranking.passages.push_back({passage, 1.0f - float(passage) / 10});
    ranking.score_of = [](uint32_t passage) { return std::optional(1.0f - float(passage) / 10); };
    return ranking;
  });
  EXPECT_EQ(searches, 2);
  // Texts: q 0, p 1, old 2, r 3, s 4, t 5, u 6. Scores: 1 - number / 10.
  EXPECT_EQ(data.samples()[0].passages, (Numbers{1, 6}));
  EXPECT_EQ(data.samples()[1].passages, (Numbers{4}));
  EXPECT_EQ(data.samples()[2].passages, (Numbers{5}));
  EXPECT_EQ(missing, 1 + 2 + 2);
}

TEST(Negatives, RandomPassagesAreNeverPositives) {
  auto data = three_queries();
  add_random_negatives(data, {.per_query = 3});
  for (const auto& sample : data.samples()) {
    auto passages = sample.passages;
    EXPECT_EQ(passages.size(), 4);
    std::ranges::sort(passages);
    EXPECT_EQ(std::ranges::unique(passages).size(), 0);
  }
  EXPECT_EQ(std::ranges::count(data.samples()[0].passages, data.samples()[2].passages[0]), 0);
  EXPECT_TRUE(has(error_of([&] { add_random_negatives(data, {.per_query = 5}); }), "too few for 5 negatives"));
}

TEST(Negatives, RandomPassagesCompleteASample) {
  auto data = three_queries();
  complete_negatives(data, {.per_query = 2});
  EXPECT_EQ(data.samples()[0].passages[1], 2);  // what it had
  for (const auto& sample : data.samples()) {
    auto passages = sample.passages;
    EXPECT_EQ(passages.size(), 3);
    std::ranges::sort(passages);
    EXPECT_EQ(std::ranges::unique(passages).size(), 0);
  }
}

TEST(Negatives, NotForSamplesWithLabels) {
  RetrievalData data;
  data.add("q", {"p"}, {0});
  EXPECT_TRUE(has(error_of([&] { add_random_negatives(data, {}); }), "have labels or scores of their own"));
}

}  // namespace
}  // namespace m2bert::data
