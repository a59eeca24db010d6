#include "m2bert/metrics/clustering.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "m2bert/error.h"

namespace m2bert::metrics {
namespace {

using Ints = std::vector<int32_t>;

TEST(VMeasure, IgnoresTheNumbersOfClusters) {
  const auto v = homogeneity_completeness_v_measure(Ints{0, 0, 1, 1}, Ints{7, 7, -3, -3});
  EXPECT_DOUBLE_EQ(v.homogeneity, 1);
  EXPECT_DOUBLE_EQ(v.completeness, 1);
  EXPECT_DOUBLE_EQ(v.v_measure, 1);
}

TEST(VMeasure, SplitsCostCompleteness) {
  // Two classes of two, each sample a cluster of its own: H(class | cluster) is 0, H(cluster | class) is ln 2 of ln 4.
  const auto v = homogeneity_completeness_v_measure(Ints{0, 0, 1, 1}, Ints{0, 1, 2, 3});
  EXPECT_DOUBLE_EQ(v.homogeneity, 1);
  EXPECT_DOUBLE_EQ(v.completeness, 0.5);
  EXPECT_DOUBLE_EQ(v.v_measure, 2.0 / 3);
}

TEST(VMeasure, OfOneClassOrOneCluster) {
  EXPECT_DOUBLE_EQ(homogeneity_completeness_v_measure(Ints{0, 0}, Ints{0, 0}).v_measure, 1);
  const auto one_class = homogeneity_completeness_v_measure(Ints{0, 0}, Ints{0, 1});
  EXPECT_DOUBLE_EQ(one_class.homogeneity, 1);
  EXPECT_DOUBLE_EQ(one_class.v_measure, 0);
  EXPECT_DOUBLE_EQ(homogeneity_completeness_v_measure(Ints{0, 1}, Ints{0, 0}).completeness, 1);
  EXPECT_DOUBLE_EQ(homogeneity_completeness_v_measure({}, {}).v_measure, 1);
  EXPECT_THROW(homogeneity_completeness_v_measure(Ints{0}, {}), Error);
}

}  // namespace
}  // namespace m2bert::metrics
