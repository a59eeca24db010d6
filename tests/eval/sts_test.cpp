#include "m2bert/eval/sts.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/scratch.h"

namespace m2bert::eval {
namespace {

using search::Similarity;
using Doubles = std::vector<double>;

TEST(PairSimilarities, OfEachMeasure) {
  const std::vector<float> a{3, 4, 1, 0}, b{4, 3, 0, 0};
  EXPECT_EQ(pair_similarities(Similarity::dot, a, b, 2), (Doubles{24, 0}));
  EXPECT_EQ(pair_similarities(Similarity::cosine, a, b, 2), (Doubles{0.96f, 0}));
  EXPECT_EQ(pair_similarities(Similarity::euclidean, a, b, 2), (Doubles{-std::sqrt(2.0f), -1}));
  EXPECT_EQ(pair_similarities(Similarity::manhattan, a, b, 2), (Doubles{-2, -1}));
  EXPECT_TRUE(test::has(test::error_of([&] { pair_similarities(Similarity::dot, a, b, 3); }), "are no pairs of vectors with 3 dimensions"));
}

TEST(PairSimilarities, EqualVectorsHaveCosineOne) {
  const std::vector<float> a{0.1f, 0.2f, 0.3f, 0.7f, 0.77f, 0.777f};
  EXPECT_EQ(pair_similarities(Similarity::cosine, a, a, 3), (Doubles{1, 1}));
}

TEST(Correlations, HaveIntervals) {
  const Doubles x{1, 2, 3, 4, 5, 6}, y{1, 2, 4, 3, 6, 100};
  const auto scores = correlations(x, y, metrics::Bootstrap{});
  ASSERT_EQ(scores.size(), 2u);
  EXPECT_EQ(scores[0].name, "Spearman");
  EXPECT_NEAR(scores[0].value, 1 - 6 * 2.0 / (6 * 35), 1e-12);
  EXPECT_EQ(scores[1].name, "Pearson");
  ASSERT_TRUE(scores[0].interval && scores[1].interval);
  EXPECT_LT(scores[0].interval->low, scores[0].value);
  EXPECT_LE(scores[0].interval->high, 1);
  EXPECT_FALSE(correlations(x, y, std::nullopt)[0].interval);
  EXPECT_TRUE(std::isnan(correlations(x, Doubles(6, 0.5), std::nullopt)[0].value));
}

}  // namespace
}  // namespace m2bert::eval
