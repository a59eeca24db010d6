#pragma once
// What a model is trained for: the loss of a batch, and the metrics of an evaluation.
#include <cstdint>
#include <string>
#include <vector>

#include "m2bert/data/batch.h"
#include "m2bert/models/model.h"

namespace m2bert::tasks {

// A number for people, under Composer's or torchmetrics' name: LanguageCrossEntropy, MulticlassAccuracy.
struct Metric {
  std::string name;
  double value = 0;
};

// The value of that name; null if there is none.
const double* find(const std::vector<Metric>& metrics, const std::string& name);

// What a task computes its metrics from, over all batches of an evaluation and all processes. Each task defines the meaning of each entry.
struct MetricSums {
  std::vector<int64_t> counts;
  std::vector<double> values;      // added over processes in float32
  std::vector<float> predictions;  // of each sample, for metrics that no sum gives; those of later processes come after this one's
};

// A task has settings but no state: all functions are const, and the model is passed in.
class Task {
 public:
  virtual ~Task() = default;

  // The head that the model needs.
  virtual models::Head head() const = 0;
  // Rows of a batch that make one sample: 1, or for contrastive training a query with its passages. Batches are cut between samples, so
  // in-batch negatives come from the same microbatch.
  virtual int rows_per_sample() const { return 1; }

  // The mean loss of rows [first, first + rows), a float32 scalar. Differentiable in the model's weights. The rows have a weight above 0.
  virtual mx::array loss(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const = 0;
  // What that mean is taken over: predicted tokens, or samples. Rows of weight 0 have no loss.
  virtual int64_t weight(const data::Batch& batch, int first, int rows) const = 0;

  // The metrics of a training step, from its mean loss; logged as metrics/train/NAME.
  virtual std::vector<Metric> train_metrics(double loss) const = 0;
  // The metrics of an evaluation; logged as metrics/eval/NAME.
  virtual std::vector<Metric> eval_metrics(const MetricSums& sums) const = 0;
  // Sums of zero, with as many entries as eval_metrics reads.
  virtual MetricSums zero_sums() const = 0;
  // Adds rows [first, first + rows) to the sums. Inference: no dropout.
  virtual void add_sums(MetricSums& sums, const models::Model& model, const data::Batch& batch, int first, int rows) const = 0;

  // Floating-point operations of the head in a forward pass over rows of that weight.
  virtual double head_flops(int64_t weight) const = 0;
  // Rows that cost what rows of real data cost, to measure a step with.
  virtual data::Batch dummy_batch(int rows, int length) const = 0;
};

// Rows of a microbatch: whole samples, at least one, and not more than the batch has. wanted: 0 for the whole batch.
int microbatch_rows(const Task& task, const data::Batch& batch, int wanted);

}  // namespace m2bert::tasks
