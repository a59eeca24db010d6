#include "m2bert/tasks/classification.h"

#include <gtest/gtest.h>

#include <cmath>

#include "m2bert/error.h"
#include "tests/support/tiny_config.h"

namespace m2bert::tasks {
namespace {

models::Config config(int labels, const char* problem) {
  auto c = test::tiny_m2_config();
  c.num_labels = labels;
  c.problem_type = problem;
  return c;
}

double value_of(const std::vector<Metric>& metrics, const std::string& name) {
  const double* value = find(metrics, name);
  EXPECT_NE(value, nullptr) << name;
  return value ? *value : 0;
}

struct Fixture {
  explicit Fixture(const models::Config& c) : model(c, models::Head::classification), task(c) { model.init(3); }
  mx::array logits(const data::Batch& batch) {
    nn::Pass pass;
    return model.class_logits(models::inputs_of(batch), pass);
  }
  double loss(const data::Batch& batch) {
    nn::Pass pass;
    return task.loss(model, batch, 0, batch.rows, pass).item<float>();
  }
  models::Model model;
  Classification task;
};

TEST(Classification, ProblemFollowsFromTheConfiguration) {
  auto c = test::tiny_m2_config();
  EXPECT_EQ(problem_of(c), Problem::single_label);
  c.num_labels = 1;
  EXPECT_EQ(problem_of(c), Problem::regression);
  EXPECT_EQ(problem_of(config(3, "multi_label_classification")), Problem::multi_label);
  EXPECT_EQ(problem_of(config(3, "regression")), Problem::regression);
}

TEST(Classification, LossOfEachProblem) {
  Fixture single(config(3, "single_label_classification"));
  auto batch = single.task.dummy_batch(4, 8);
  batch.labels = {0, 2, 1, 1};
  const auto logits = single.logits(batch);
  const auto each =
      mx::logsumexp(logits, -1) - mx::reshape(mx::take_along_axis(logits, mx::reshape(mx::array({0, 2, 1, 1}), {4, 1}), 1), {4});
  EXPECT_NEAR(single.loss(batch), mx::mean(each).item<float>(), 1e-6);

  Fixture number(config(1, "regression"));
  auto values = number.task.dummy_batch(2, 8);
  values.targets = {0.5F, -1};
  const auto predicted = models::to_floats(number.logits(values));
  EXPECT_NEAR(number.loss(values), (std::pow(predicted[0] - 0.5, 2) + std::pow(predicted[1] + 1, 2)) / 2, 1e-6);

  Fixture several(config(2, "multi_label_classification"));
  auto sets = several.task.dummy_batch(1, 8);
  sets.targets = {1, 0};
  const auto scores = models::to_floats(several.logits(sets));
  EXPECT_NEAR(several.loss(sets), (std::log1p(std::exp(-scores[0])) + std::log1p(std::exp(scores[1]))) / 2, 1e-6);
}

// The weighted loss is the same, however the batch is cut.
TEST(Classification, ClassWeightsMultiplyTheLossOfASample) {
  const auto c = config(2, "single_label_classification");
  Fixture plain(c);
  const Classification weighted(c, {1, 4});
  auto batch = plain.task.dummy_batch(2, 8);
  batch.labels = {0, 1};
  nn::Pass pass;
  const double first = plain.task.loss(plain.model, batch, 0, 1, pass).item<float>();
  const double second = plain.task.loss(plain.model, batch, 1, 1, pass).item<float>();
  EXPECT_NEAR(weighted.loss(plain.model, batch, 0, 2, pass).item<float>(), (first + 4 * second) / 2, 1e-6);
  EXPECT_THROW(Classification(c, {1, 2, 3}), Error);
  EXPECT_THROW(Classification(config(2, "multi_label_classification"), {1, 2}), Error);
}

TEST(Classification, RefusesLabelsThatTheModelLacks) {
  Fixture f(config(2, "single_label_classification"));
  auto batch = f.task.dummy_batch(2, 8);
  nn::Pass pass;
  batch.labels = {0, 2};
  EXPECT_THROW(f.task.loss(f.model, batch, 0, 2, pass), Error);
  batch.labels = {0};
  EXPECT_THROW(f.task.loss(f.model, batch, 0, 2, pass), Error);
  Fixture number(config(1, "regression"));
  EXPECT_THROW(number.task.loss(number.model, batch, 0, 2, pass), Error);
}

TEST(Classification, EvaluationKeepsEachPrediction) {
  Fixture f(config(3, "single_label_classification"));
  auto batch = f.task.dummy_batch(4, 8);
  batch.labels = {0, 2, 1, 1};
  auto sums = f.task.zero_sums();
  f.task.add_sums(sums, f.model, batch, 0, 3);
  f.task.add_sums(sums, f.model, batch, 3, 1);
  const auto p = f.task.predictions_of(sums.predictions);
  EXPECT_EQ(p.targets, (std::vector<float>{0, 2, 1, 1}));
  const auto logits = models::to_floats(f.logits(batch));
  ASSERT_EQ(p.logits.size(), logits.size());
  for (size_t i = 0; i < logits.size(); ++i) EXPECT_NEAR(p.logits[i], logits[i], 1e-5);
  EXPECT_EQ(f.task.eval_metrics(sums).size(), 4U);
}

TEST(ClassificationMetrics, SingleLabel) {
  const Predictions p{2, {2, 0, 0, 1, 3, 0, 0, 2}, {0, 1, 1, 1}};  // predicted 0 1 0 1
  EXPECT_EQ(predicted_classes(p), (std::vector<int32_t>{0, 1, 0, 1}));
  const auto metrics = classification_metrics(Problem::single_label, p);
  EXPECT_DOUBLE_EQ(value_of(metrics, "MulticlassAccuracy"), 0.75);
  EXPECT_DOUBLE_EQ(value_of(metrics, "BinaryF1Score"), 0.8);
  EXPECT_DOUBLE_EQ(value_of(metrics, "BinaryAUROC"), 2.0 / 3);
  const double loss = (std::log1p(std::exp(-2)) + std::log1p(std::exp(-1)) + std::log1p(std::exp(3)) + std::log1p(std::exp(-2))) / 4;
  EXPECT_NEAR(value_of(metrics, "CrossEntropy"), loss, 1e-12);
}

TEST(ClassificationMetrics, SeveralLabels) {
  const Predictions p{2, {1, -1, -1, 1}, {1, 0, 1, 1}};
  const auto metrics = classification_metrics(Problem::multi_label, p);
  EXPECT_DOUBLE_EQ(value_of(metrics, "MultilabelExactMatch"), 0.5);
  EXPECT_DOUBLE_EQ(value_of(metrics, "MultilabelF1Score"), 0.8);
  EXPECT_NEAR(value_of(metrics, "CrossEntropy"), (3 * std::log1p(std::exp(-1)) + std::log1p(std::exp(1))) / 4, 1e-12);
}

TEST(ClassificationMetrics, Numbers) {
  const Predictions p{1, {1, 2, 4}, {1, 2, 3}};
  const auto metrics = classification_metrics(Problem::regression, p);
  EXPECT_DOUBLE_EQ(value_of(metrics, "MeanSquaredError"), 1.0 / 3);
  EXPECT_DOUBLE_EQ(value_of(metrics, "SpearmanCorrCoef"), 1);
  EXPECT_DOUBLE_EQ(value_of(metrics, "R2Score"), 0.5);
}

TEST(ClassificationMetrics, AreNaNWithoutSamples) {
  for (const auto problem : {Problem::single_label, Problem::multi_label, Problem::regression}) {
    const auto metrics = classification_metrics(problem, {problem == Problem::regression ? 1 : 2, {}, {}});
    EXPECT_GE(metrics.size(), 4U);
    for (const auto& metric : metrics) EXPECT_TRUE(std::isnan(metric.value)) << metric.name;
  }
}

}  // namespace
}  // namespace m2bert::tasks
