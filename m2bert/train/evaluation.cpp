#include "m2bert/train/evaluation.h"

#include <algorithm>

#include "m2bert/io/interrupt.h"
#include "m2bert/models/cast.h"

namespace m2bert::train {

namespace {

// Sums and samples of this process's share.
struct Share {
  tasks::MetricSums sums;
  int64_t samples = 0;
};

Share share_of(const models::Model& model, const tasks::Task& task, data::BatchSource& source, const EvaluationOptions& options) {
  Share share{task.zero_sums()};
  source.seek({0, 0});
  for (int64_t done = 0; options.batches < 0 || done < options.batches; ++done) {
    const auto batch = source.next();
    if (!batch) break;
    const int piece = tasks::microbatch_rows(task, *batch, options.rows);
    for (int first = 0; first < batch->rows && !io::interrupted(); first += piece) {
      const int rows = std::min(piece, batch->rows - first);
      task.add_sums(share.sums, model, *batch, first, rows);
      share.samples += rows / task.rows_per_sample();
    }
    if (io::interrupted()) break;
  }
  return share;
}

void sum_over(const Processes& processes, Share& share) {
  auto counts = share.sums.counts;
  counts.push_back(share.samples);
  counts = processes.sum_counts(counts);
  share.samples = counts.back();
  counts.pop_back();
  share.sums.counts = std::move(counts);
  for (auto& value : share.sums.values) value = processes.sum_value(value);
  share.sums.predictions = processes.gather(share.sums.predictions);
}

}  // namespace

Evaluation evaluate(models::Model& model, const tasks::Task& task, data::BatchSource& source, const Processes& processes,
                    const EvaluationOptions& options) {
  const models::ScopedCast cast(model, options.compute);
  const models::PackedScope packed(model);  // leaves no copy of a weight behind
  auto share = share_of(model, task, source, options);
  sum_over(processes, share);
  return {task.eval_metrics(share.sums), share.samples, std::move(share.sums.predictions)};
}

std::vector<Evaluation> evaluate_all(models::Model& model, const tasks::Task& task, const std::vector<EvalSet>& sets,
                                     const Processes& processes, const EvaluationOptions& options) {
  std::vector<Evaluation> all;
  for (const auto& set : sets) {
    all.push_back(evaluate(model, task, *set.data, processes, options));
    all.back().label = set.label;
  }
  return all;
}

std::string full_name(const Evaluation& evaluation, const tasks::Metric& metric) {
  return evaluation.label.empty() ? metric.name : evaluation.label + "/" + metric.name;
}

const double* find(const std::vector<Evaluation>& evaluations, const std::string& name) {
  for (const auto& evaluation : evaluations) {
    for (const auto& metric : evaluation.metrics) {
      if (full_name(evaluation, metric) == name) return &metric.value;
    }
  }
  return evaluations.empty() ? nullptr : tasks::find(evaluations.front().metrics, name);
}

}  // namespace m2bert::train
