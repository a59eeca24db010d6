#include "m2bert/metrics/classification.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "m2bert/error.h"

namespace m2bert::metrics {
namespace {

using Ints = std::vector<int32_t>;
using Doubles = std::vector<double>;

// Class 0: 3 samples, 2 right. Class 1: 2 samples, 1 right. Class 2: 1 sample, right. Class 3 never occurs.
ConfusionMatrix example() { return {Ints{0, 0, 0, 1, 1, 2}, Ints{0, 0, 1, 1, 2, 2}, 4}; }

TEST(ConfusionMatrix, CountsLabelsAndPredictions) {
  const auto matrix = example();
  EXPECT_EQ(matrix.classes(), 4);
  EXPECT_EQ(matrix.samples(), 6);
  EXPECT_EQ(matrix.count(0, 0), 2);
  EXPECT_EQ(matrix.count(0, 1), 1);
  EXPECT_EQ(matrix.count(1, 0), 0);
  EXPECT_EQ(matrix.labels(0), 3);
  EXPECT_EQ(matrix.predictions(2), 2);
  EXPECT_EQ(matrix.labels(3) + matrix.predictions(3), 0);
}

TEST(ConfusionMatrix, RefusesWhatIsNoClass) {
  EXPECT_THROW(ConfusionMatrix(Ints{0}, Ints{0, 1}, 2), Error);
  EXPECT_THROW(ConfusionMatrix(Ints{}, Ints{}, 2), Error);
  EXPECT_THROW(ConfusionMatrix(Ints{2}, Ints{0}, 2), Error);
  EXPECT_THROW(ConfusionMatrix(Ints{0}, Ints{-1}, 2), Error);
  EXPECT_THROW(ConfusionMatrix(Ints{0}, Ints{0}, 0), Error);
}

TEST(Accuracy, CountsSamplesOrWeighsClassesEqually) {
  EXPECT_DOUBLE_EQ(accuracy_score(example()), 4.0 / 6);
  EXPECT_DOUBLE_EQ(balanced_accuracy_score(example()), (2.0 / 3 + 1.0 / 2 + 1) / 3);
}

TEST(PrecisionRecallF1, OfEachClass) {
  const auto classes = precision_recall_f1(example());
  ASSERT_EQ(classes.size(), 4u);
  EXPECT_DOUBLE_EQ(classes[0].precision, 1);
  EXPECT_DOUBLE_EQ(classes[0].recall, 2.0 / 3);
  EXPECT_DOUBLE_EQ(classes[0].f1, 0.8);
  EXPECT_DOUBLE_EQ(classes[1].f1, 0.5);
  EXPECT_DOUBLE_EQ(classes[2].f1, 2.0 / 3);
  EXPECT_DOUBLE_EQ(classes[3].f1, 0);
}

TEST(PrecisionRecallF1, AveragesLeaveOutClassesThatNeverOccur) {
  EXPECT_DOUBLE_EQ(precision_recall_f1(example(), Average::macro).f1, (0.8 + 0.5 + 2.0 / 3) / 3);
  EXPECT_DOUBLE_EQ(precision_recall_f1(example(), Average::weighted).f1, (3 * 0.8 + 2 * 0.5 + 2.0 / 3) / 6);
  EXPECT_DOUBLE_EQ(precision_recall_f1(example(), Average::micro).f1, 4.0 / 6);
  EXPECT_THROW(precision_recall_f1(example(), Average::binary), Error);
}

TEST(PrecisionRecallF1, BinaryIsOfClassOne) {
  const auto scores = precision_recall_f1(ConfusionMatrix(Ints{1, 1, 1, 0}, Ints{1, 0, 0, 1}, 2), Average::binary);
  EXPECT_DOUBLE_EQ(scores.precision, 0.5);
  EXPECT_DOUBLE_EQ(scores.recall, 1.0 / 3);
  EXPECT_DOUBLE_EQ(scores.f1, 0.4);
  const auto none = precision_recall_f1(ConfusionMatrix(Ints{0, 0}, Ints{0, 0}, 2), Average::binary);
  EXPECT_EQ(none.precision + none.recall + none.f1, 0);
}

TEST(MatthewsCorrcoef, OfTwoAndOfManyClasses) {
  // tp 2, tn 3, fp 1, fn 2: (2 * 3 - 1 * 2) / sqrt(3 * 4 * 4 * 5)
  EXPECT_DOUBLE_EQ(matthews_corrcoef(ConfusionMatrix(Ints{1, 1, 1, 1, 0, 0, 0, 0}, Ints{1, 1, 0, 0, 1, 0, 0, 0}, 2)), 4 / std::sqrt(240.0));
  EXPECT_DOUBLE_EQ(matthews_corrcoef(ConfusionMatrix(Ints{0, 1, 2}, Ints{0, 1, 2}, 3)), 1);
  EXPECT_DOUBLE_EQ(matthews_corrcoef(ConfusionMatrix(Ints{1, 1}, Ints{0, 1}, 2)), 0) << "constant labels";
}

TEST(MultiLabel, CountsEachClassAndWholeRows) {
  const MultiLabelCounts counts(Ints{1, 0, 0, 1, 1, 0, 0, 0, 0}, Ints{1, 0, 0, 0, 1, 0, 1, 0, 0}, 3);
  EXPECT_DOUBLE_EQ(accuracy_score(counts), 1.0 / 3);
  const auto classes = precision_recall_f1(counts);
  EXPECT_DOUBLE_EQ(classes[0].f1, 0.5);
  EXPECT_DOUBLE_EQ(classes[1].f1, 1);
  EXPECT_DOUBLE_EQ(classes[2].f1, 0);
  EXPECT_DOUBLE_EQ(precision_recall_f1(counts, Average::macro).f1, 0.5);
  EXPECT_DOUBLE_EQ(precision_recall_f1(counts, Average::micro).f1, 2 * 2.0 / 6);
  EXPECT_DOUBLE_EQ(precision_recall_f1(counts, Average::weighted).f1, (2 * 0.5 + 1) / 3);
  EXPECT_THROW(MultiLabelCounts(Ints{1, 0, 0}, Ints{1, 0, 0}, 2), Error);
  EXPECT_THROW(MultiLabelCounts(Ints{2, 0}, Ints{1, 0}, 2), Error);
}

TEST(RocAuc, CountsTiesHalf) {
  EXPECT_DOUBLE_EQ(roc_auc_score(Ints{0, 1, 0, 1}, Doubles{0.1, 0.4, 0.4, 0.8}), 3.5 / 4);
  EXPECT_DOUBLE_EQ(roc_auc_score(Ints{0, 1}, Doubles{1, 1}), 0.5);
  EXPECT_TRUE(std::isnan(roc_auc_score(Ints{1, 1}, Doubles{1, 2}))) << "one class";
  EXPECT_THROW(roc_auc_score(Ints{0, 1}, Doubles{0, std::nan("")}), Error);
  EXPECT_THROW(roc_auc_score(Ints{}, Doubles{}), Error);
}

TEST(AveragePrecision, GroupsTies) {
  EXPECT_DOUBLE_EQ(average_precision_score(Ints{1, 0, 1}, Doubles{3, 2, 1}), 0.5 + 0.5 * 2 / 3);
  EXPECT_DOUBLE_EQ(average_precision_score(Ints{0, 1, 1}, Doubles{2, 2, 1}), 0.5 * 0.5 + 0.5 * 2 / 3);
  EXPECT_DOUBLE_EQ(average_precision_score(Ints{0, 0}, Doubles{2, 1}), 0) << "no positive sample";
}

TEST(LogLoss, OfProbabilitiesAndLogits) {
  EXPECT_DOUBLE_EQ(log_loss(Ints{0, 1}, Doubles{0.5, 0.5, 0.75, 0.25}, 2), (std::log(2) + std::log(4)) / 2);
  EXPECT_DOUBLE_EQ(log_loss(Ints{0}, Doubles{0, 1}, 2), 52 * std::log(2)) << "clipped";
  EXPECT_DOUBLE_EQ(cross_entropy(Ints{2}, Doubles{1e3, 1e3, 1e3, 1e3}, 4), std::log(4));
  EXPECT_DOUBLE_EQ(cross_entropy(Ints{1}, Doubles{1000, 0}, 2), 1000) << "not clipped";
  EXPECT_THROW(log_loss(Ints{0}, Doubles{1.5, -0.5}, 2), Error);
  EXPECT_THROW(cross_entropy(Ints{0}, Doubles{std::numeric_limits<double>::infinity(), 0}, 2), Error);
  EXPECT_THROW(cross_entropy(Ints{0}, Doubles{1, 0, 1}, 2), Error);
}

}  // namespace
}  // namespace m2bert::metrics
