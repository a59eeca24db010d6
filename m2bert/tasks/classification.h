#pragma once
// Classification with one label or several, and regression, of a text or a pair of texts.
#include <string>
#include <utility>
#include <vector>

#include "m2bert/tasks/task.h"

namespace m2bert::tasks {

enum class Problem { single_label, multi_label, regression };

// By problem_type; without it one label is a regression and several are single label, as in upstream's GLUE scripts.
Problem problem_of(const models::Config& config);

// What a model predicted for the samples of an evaluation.
struct Predictions {
  int width = 0;               // labels of the model
  std::vector<float> logits;   // [n, width]
  std::vector<float> targets;  // [n, width]; single label: [n], the classes
};

// single label: the class with the largest logit, [n].
std::vector<int32_t> predicted_classes(const Predictions& predictions);

// The metrics, under torchmetrics' names where it has them; metrics are those of m2bert/metrics.
//   single label: MulticlassAccuracy, MulticlassF1Score (macro), MatthewsCorrCoef, CrossEntropy; with two labels also BinaryF1Score,
//     BinaryAUROC and BinaryAveragePrecision of label 1
//   multi label: MultilabelExactMatch, MultilabelF1Score (micro), MultilabelF1ScoreMacro, CrossEntropy (binary, a label); a label is
//     predicted where its probability is above 0.5
//   regression: MeanSquaredError, MeanAbsoluteError, PearsonCorrCoef, SpearmanCorrCoef, R2Score, over all values
// NaN without samples.
std::vector<Metric> classification_metrics(Problem problem, const Predictions& predictions);

// The weight of rows is their number. Batches hold labels [rows] (single label) or targets [rows, num_labels].
class Classification : public Task {
 public:
  // class_weights: single label only; the loss of a sample is multiplied by that of its class. Unlike torch's weighted mean, the sum is
  // divided by the number of samples, so it does not depend on how a batch is cut. Error: not one for each label.
  explicit Classification(models::Config config, std::vector<float> class_weights = {});

  Problem problem() const { return problem_; }
  // Of an evaluation's MetricSums::predictions.
  Predictions predictions_of(const std::vector<float>& all) const;

  models::Head head() const override { return models::Head::classification; }
  mx::array loss(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const override;
  int64_t weight(const data::Batch&, int, int rows) const override { return rows; }
  std::vector<Metric> train_metrics(double) const override { return {}; }
  std::vector<Metric> eval_metrics(const MetricSums& sums) const override;
  MetricSums zero_sums() const override { return {}; }
  void add_sums(MetricSums& sums, const models::Model& model, const data::Batch& batch, int first, int rows) const override;
  double head_flops(int64_t rows) const override;
  data::Batch dummy_batch(int rows, int length) const override;

 private:
  mx::array expected(const data::Batch& batch, int first, int rows) const;

  models::Config config_;
  Problem problem_;
  std::vector<float> class_weights_;
};

}  // namespace m2bert::tasks
