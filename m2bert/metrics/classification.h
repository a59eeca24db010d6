#pragma once
// Metrics of classification, equal to those of the same names in scikit-learn. As there, a ratio without cases (the precision of a class
// that is never predicted, the recall of a class that never occurs) is 0. All functions throw Error on lengths that differ, no samples,
// labels outside their range, and scores that are not finite.
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace m2bert::metrics {

// How often each class was predicted for the samples of each class. Its size depends on the samples, not on the number of classes squared.
class ConfusionMatrix {
 public:
  // labels and predictions: classes from 0 to classes - 1, one of each per sample, at least one sample.
  ConfusionMatrix(std::span<const int32_t> labels, std::span<const int32_t> predictions, int classes);
  int classes() const { return static_cast<int>(labels_.size()); }
  int64_t samples() const { return samples_; }
  // Samples of class `label` that were predicted as `prediction`.
  int64_t count(int label, int prediction) const;
  // Samples of a class, and samples predicted as one: the sums of a row and of a column.
  int64_t labels(int c) const { return labels_.at(static_cast<size_t>(c)); }
  int64_t predictions(int c) const { return predictions_.at(static_cast<size_t>(c)); }

 private:
  std::map<std::pair<int32_t, int32_t>, int64_t> counts_;  // (label, prediction), without zeros
  std::vector<int64_t> labels_, predictions_;
  int64_t samples_ = 0;
};

// The fraction of right predictions.
double accuracy_score(const ConfusionMatrix& matrix);
// The mean of the recalls of the classes that occur among the labels.
double balanced_accuracy_score(const ConfusionMatrix& matrix);
// Matthews correlation, also for several classes (Gorodkin, 2004). 0 if all labels or all predictions are the same.
double matthews_corrcoef(const ConfusionMatrix& matrix);

// binary: class 1 of two. micro: over the counts of all classes. macro: the mean of the classes. weighted: the mean weighted by the number
// of samples of each class.
enum class Average { binary, micro, macro, weighted };

struct PrecisionRecallF1 {
  double precision = 0, recall = 0, f1 = 0;
};

// Classes that occur neither as a label nor as a prediction are left out of macro. Average::binary throws Error unless there are two
// classes.
PrecisionRecallF1 precision_recall_f1(const ConfusionMatrix& matrix, Average average);
// Of each class.
std::vector<PrecisionRecallF1> precision_recall_f1(const ConfusionMatrix& matrix);

// Several labels per sample: labels and predictions are 0/1 matrices [samples, classes].
class MultiLabelCounts {
 public:
  MultiLabelCounts(std::span<const int32_t> labels, std::span<const int32_t> predictions, int classes);
  struct Class {
    int64_t true_positives = 0, false_positives = 0, false_negatives = 0;
  };
  const std::vector<Class>& classes() const { return classes_; }
  int64_t samples() const { return samples_; }
  // Samples with all their labels right.
  int64_t exact() const { return exact_; }

 private:
  std::vector<Class> classes_;
  int64_t samples_ = 0, exact_ = 0;
};

// The fraction of samples with all labels right.
double accuracy_score(const MultiLabelCounts& counts);
// macro is over all classes, also those that never occur. Average::binary throws Error unless there is one class.
PrecisionRecallF1 precision_recall_f1(const MultiLabelCounts& counts, Average average);
std::vector<PrecisionRecallF1> precision_recall_f1(const MultiLabelCounts& counts);

// Area under the ROC curve: the probability that a positive sample has a higher score than a negative one; a tie counts half. labels: 0
// or 1. NaN if all labels are the same.
double roc_auc_score(std::span<const int32_t> labels, std::span<const double> scores);
// Precision at each score, weighted by the gain in recall; samples with equal scores count together. 0 without positive samples.
double average_precision_score(std::span<const int32_t> labels, std::span<const double> scores);

// Mean of -ln(probability of the label). probabilities: [samples, classes], clipped to 2^-52 from 0 and from 1.
double log_loss(std::span<const int32_t> labels, std::span<const double> probabilities, int classes);
// The same from logits [samples, classes], without clipping, as torch.nn.functional.cross_entropy. Throws Error on logits that are not
// finite.
double cross_entropy(std::span<const int32_t> labels, std::span<const double> logits, int classes);

}  // namespace m2bert::metrics
