#include "m2bert/eval/clustering.h"

#include <gtest/gtest.h>

#include "m2bert/metrics/clustering.h"
#include "m2bert/random.h"
#include "m2bert/threads.h"
#include "tests/support/scratch.h"

namespace m2bert::eval {
namespace {

using Ints = std::vector<int32_t>;

TEST(KMeans, FindsTheGroupsOfALine) {
  const std::vector<float> x{0, 1, 2, 10, 11, 12, 50};
  const auto result = k_means(x, 1, {.clusters = 3});
  EXPECT_DOUBLE_EQ(metrics::homogeneity_completeness_v_measure(Ints{0, 0, 0, 1, 1, 1, 2}, result.clusters).v_measure, 1);
  EXPECT_DOUBLE_EQ(result.inertia, 4);
  EXPECT_DOUBLE_EQ(k_means(x, 1, {.clusters = 7}).inertia, 0);
}

TEST(KMeans, EqualVectorsFillAllClustersTheyCan) {
  const auto result = k_means(std::vector<float>{1, 1, 1, 1}, 1, {.clusters = 3});
  EXPECT_EQ(result.clusters.size(), 4u);
  EXPECT_DOUBLE_EQ(result.inertia, 0);
}

TEST(KMeans, DependsOnTheSeedAlone) {
  Random random{1};
  std::vector<float> x;
  for (int i = 0; i < 4000; ++i) x.push_back(static_cast<float>(random.uniform()));
  const KMeansOptions one{.clusters = 9, .restarts = 1, .seed = 3}, other{.clusters = 9, .restarts = 1, .seed = 4};
  set_threads(1);
  const auto first = k_means(x, 8, one);
  set_threads(3);
  EXPECT_EQ(k_means(x, 8, one).clusters, first.clusters);
  set_threads(0);
  EXPECT_NE(k_means(x, 8, other).clusters, first.clusters);
  EXPECT_LE(k_means(x, 8, {.clusters = 9, .seed = 3}).inertia, first.inertia) << "the best of ten";
}

TEST(KMeans, RefusesMoreClustersThanVectors) {
  EXPECT_PRED2(test::has, test::error_of([] { k_means(std::vector<float>{1, 2}, 1, {.clusters = 3}); }),
               "2 vectors cannot form 3 clusters");
  EXPECT_PRED2(test::has, test::error_of([] { k_means(std::vector<float>{1, 2, 3}, 2, {.clusters = 1}); }), "no multiple of 2 dimensions");
}

}  // namespace
}  // namespace m2bert::eval
