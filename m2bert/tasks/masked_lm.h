#pragma once
// Masked language modelling.
#include <utility>

#include "m2bert/tasks/task.h"

namespace m2bert::tasks {

// The mean cross entropy of the predicted tokens, a float32 scalar; NaN without one. labels: integer [B, L], read on the host: a token is
// predicted where its label is above 0, or for Hugging Face's BERT at least 0. Source: BertForMaskedLM upstream and in transformers.
mx::array masked_lm_loss(const models::Model& model, const models::Inputs& inputs, const mx::array& labels, nn::Pass& pass);

// Metrics: LanguageCrossEntropy (nats a predicted token), MaskedAccuracy, Perplexity. The weight of rows is the number of their predicted
// tokens.
class MaskedLM : public Task {
 public:
  explicit MaskedLM(models::Config config) : config_(std::move(config)) {}

  models::Head head() const override { return models::Head::masked_lm; }
  mx::array loss(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const override;
  int64_t weight(const data::Batch& batch, int first, int rows) const override;
  std::vector<Metric> train_metrics(double loss) const override;
  std::vector<Metric> eval_metrics(const MetricSums& sums) const override;
  MetricSums zero_sums() const override;
  void add_sums(MetricSums& sums, const models::Model& model, const data::Batch& batch, int first, int rows) const override;
  double head_flops(int64_t predicted) const override;
  data::Batch dummy_batch(int rows, int length) const override;

 private:
  models::Config config_;
};

}  // namespace m2bert::tasks
