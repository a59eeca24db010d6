#pragma once
// Retrieval: queries are embedded close to the passages that answer them.
#include <optional>
#include <unordered_map>
#include <vector>

#include "m2bert/tasks/batch_loss.h"
#include "m2bert/tasks/memory_bank.h"
#include "m2bert/tasks/retrieval_objective.h"
#include "m2bert/tasks/task.h"

namespace m2bert::tasks {

// The texts of an evaluation (data::TextBatches) and what is to be found.
struct RetrievalEvaluation {
  size_t queries = 0, passages = 0;
  std::vector<std::vector<uint32_t>> relevant;  // of each query, the places of its passages
  size_t k = 10;
  // Instead of `relevant`: labels or similarities of query i and passage i, which the cosines are compared with.
  std::vector<float> labels;
};

struct RetrievalSettings {
  RetrievalObjective objective;
  models::Head head = models::Head::none;
  models::Poolings pooling{models::Pooling::mean};
  bool normalize = false;
  int rows_per_sample = 2;  // the query, its positive, and its negatives
  // The positives of each query, by the numbers of texts: never its negatives.
  std::unordered_map<uint32_t, std::vector<uint32_t>> positives;
  // Embeddings of every text by another model, [texts, e]: those to be learned, and those that judge false negatives.
  std::optional<mx::array> teacher, guide;
  RetrievalEvaluation evaluation;
};

// Batches are those of data::RetrievalBatches, evaluations those of data::TextBatches. Metrics of an evaluation: nDCG@k, MRR@k and
// Recall@k, or CosineSpearman and CosinePearson for labels. The weight of rows is the number of their samples.
class Retrieval : public Task, public BatchLoss {
 public:
  // bank: null for none; must outlive the task.
  Retrieval(models::Config config, RetrievalSettings settings, MemoryBank* bank = nullptr);

  models::Head head() const override { return settings_.head; }
  int rows_per_sample() const override { return settings_.rows_per_sample; }
  const BatchLoss* whole_batch() const override { return this; }
  // Of a whole batch alone, whose samples are each other's negatives.
  mx::array loss(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const override;
  int64_t weight(const data::Batch& batch, int first, int rows) const override;
  std::vector<Metric> train_metrics(double loss) const override;
  std::vector<Metric> eval_metrics(const MetricSums& sums) const override;
  MetricSums zero_sums() const override { return {{0}, {}, {}}; }  // texts; no sums; their vectors
  void add_sums(MetricSums& sums, const models::Model& model, const data::Batch& batch, int first, int rows) const override;
  double head_flops(int64_t) const override { return 0; }
  data::Batch dummy_batch(int rows, int length) const override;

  mx::array embed(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const override;
  mx::array batch_loss(const mx::array& embeddings, const data::Batch& all, int processes) const override;
  void after_gradient(const mx::array& embeddings, const data::Batch& all, int processes) const override;

 private:
  std::optional<mx::array> excluded(const std::vector<int32_t>& numbers, int samples) const;

  models::Config config_;
  RetrievalSettings settings_;
  MemoryBank* bank_;
};

}  // namespace m2bert::tasks
