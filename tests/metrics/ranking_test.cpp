#include "m2bert/metrics/ranking.h"

#include <gtest/gtest.h>

#include <cmath>

#include "m2bert/error.h"

namespace m2bert::metrics {
namespace {

using Ints = std::vector<int32_t>;

// Four documents were ranked; a fifth of relevance 3 was not found, one of -1 and one of 0 are judged too.
const Ints ranked{0, 2, -1, 1}, judged{3, -1, 1, 2, 0};

TEST(Ndcg, HasLinearGainsAndAnIdealOfAllJudgedDocuments) {
  const double ideal = 3 + 2 / std::log2(3) + 1 / std::log2(4);
  EXPECT_DOUBLE_EQ(ndcg(ranked, judged), (2 / std::log2(3) + 1 / std::log2(5)) / ideal);
  EXPECT_DOUBLE_EQ(ndcg(ranked, judged, 2), (2 / std::log2(3)) / (3 + 2 / std::log2(3)));
  EXPECT_DOUBLE_EQ(ndcg(ranked, judged, 1), 0);
  EXPECT_DOUBLE_EQ(ndcg(Ints{3, 2, 1}, judged, 10), 1);
}

TEST(Ranking, OfBinaryRelevance) {
  EXPECT_DOUBLE_EQ(reciprocal_rank(ranked), 0.5);
  EXPECT_DOUBLE_EQ(reciprocal_rank(ranked, 1), 0);
  EXPECT_DOUBLE_EQ(average_precision(ranked, judged), (1.0 / 2 + 2.0 / 4) / 3);
  EXPECT_DOUBLE_EQ(average_precision(ranked, judged, 3), 1.0 / 2 / 3);
  EXPECT_DOUBLE_EQ(precision(ranked, 2), 0.5);
  EXPECT_DOUBLE_EQ(precision(ranked, 10), 0.2) << "divided by k";
  EXPECT_DOUBLE_EQ(recall(ranked, judged, 10), 2.0 / 3);
  EXPECT_DOUBLE_EQ(r_precision(ranked, judged), 1.0 / 3);
}

TEST(Ranking, IsZeroWithoutRelevantOrRankedDocuments) {
  const Ints none{0, 0};
  EXPECT_EQ(ndcg(none, none) + reciprocal_rank(none) + average_precision(none, none) + recall(none, none, 3) + r_precision(none, none), 0);
  EXPECT_EQ(ndcg(Ints{}, judged) + reciprocal_rank(Ints{}) + average_precision(Ints{}, judged) + recall(Ints{}, judged, 3), 0);
  EXPECT_THROW(precision(ranked, 0), Error);
}

TEST(TrecOrder, BreaksTiesByDescendingId) {
  EXPECT_EQ(trec_order(std::vector<float>{1, 2, 1, 2}, std::vector<std::string>{"d1", "d10", "d2", "d9"}),
            (std::vector<size_t>{3, 1, 2, 0}));
  EXPECT_THROW(trec_order(std::vector<float>{std::nanf("")}, std::vector<std::string>{"d"}), Error);
  EXPECT_THROW(trec_order(std::vector<float>{1}, std::vector<std::string>{}), Error);
}

TEST(Mean, OverQueries) {
  EXPECT_DOUBLE_EQ(mean(std::vector<double>{0.25, 0.75}), 0.5);
  EXPECT_TRUE(std::isnan(mean({})));
}

}  // namespace
}  // namespace m2bert::metrics
