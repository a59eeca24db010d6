#include "m2bert/eval/classification.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "m2bert/random.h"
#include "tests/support/scratch.h"

namespace m2bert::eval {
namespace {

using Labels = std::vector<int32_t>;

// Points around a center of their own for each class.
struct Points {
  std::vector<float> vectors;
  Labels labels;
  Points(size_t count, int classes, double noise, uint64_t seed) {
    Random random{seed};
    for (size_t i = 0; i < count; ++i) {
      const auto label = static_cast<int32_t>(i) % classes;
      labels.push_back(label);
      for (int d = 0; d < classes; ++d)
        vectors.push_back(static_cast<float>((d == label) + noise * (random.uniform() + random.uniform() - 1)));
    }
  }
  LabelledVectors view() const { return {vectors, labels}; }
};

TEST(FewShot, DrawsTheSameNumberOfEachClass) {
  const Labels labels{0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2};
  const FewShotOptions options{.samples_per_label = 3, .experiments = 4, .seed = 9};
  const auto shots = draw_few_shots(labels, options);
  ASSERT_EQ(shots.size(), 4u);
  for (const auto& indices : shots) {
    EXPECT_EQ(std::set<size_t>(indices.begin(), indices.end()).size(), indices.size()) << "without replacement";
    for (const auto [label, wanted] : {std::pair{0, 3}, {1, 3}, {2, 1}})
      EXPECT_EQ(std::ranges::count_if(indices, [&](size_t i) { return labels[i] == label; }), wanted);
  }
  EXPECT_NE(shots[0], shots[1]);
  EXPECT_EQ(shots, draw_few_shots(labels, options));
  EXPECT_NE(shots, draw_few_shots(labels, {.samples_per_label = 3, .experiments = 4, .seed = 10}));
}

TEST(FewShot, PerfectOnSeparatedClasses) {
  const Points train(60, 3, 0.1, 1), test(30, 3, 0.1, 2);
  const auto scores = few_shot_scores(train.view(), draw_few_shots(train.labels, {}), test.view(), 3, 3, {}, metrics::Bootstrap{});
  ASSERT_EQ(scores.size(), 2u);
  EXPECT_EQ(scores[0].name, "Accuracy");
  EXPECT_DOUBLE_EQ(scores[0].value, 1);
  EXPECT_DOUBLE_EQ(scores[0].interval.value().low, 1);
  EXPECT_EQ(scores[1].name, "F1");
  EXPECT_DOUBLE_EQ(scores[1].value, 1);
}

TEST(FewShot, AveragesItsExperiments) {
  const Points train(200, 2, 1.5, 3), test(100, 2, 1.5, 4);
  const auto shots = draw_few_shots(train.labels, {.experiments = 3});
  const auto scores = few_shot_scores(train.view(), shots, test.view(), 2, 2, {}, metrics::Bootstrap{});
  ASSERT_EQ(scores.size(), 4u);
  EXPECT_EQ(scores[2].name, "AP");
  EXPECT_EQ(scores[3].name, "AP of predictions");
  double sum = 0;
  for (const auto& one : shots) sum += few_shot_scores(train.view(), {one}, test.view(), 2, 2, {}, std::nullopt)[0].value;
  EXPECT_NEAR(scores[0].value, sum / 3, 1e-12);
  EXPECT_GT(scores[0].value, 0.6);
  EXPECT_LT(scores[0].value, 1);
  EXPECT_LT(scores[0].interval.value().low, scores[0].value);
}

TEST(FewShot, WantsTwoClasses) {
  const Points train(10, 2, 0, 1);
  const auto one_class = [&] { few_shot_scores(train.view(), {{0, 2, 4}}, train.view(), 2, 2, {}, std::nullopt); };
  EXPECT_PRED2(test::has, test::error_of(one_class), "samples of at least two classes");
}

}  // namespace
}  // namespace m2bert::eval
