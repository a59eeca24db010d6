#pragma once
// Evaluation of a model on batches with labels.
#include <string>
#include <vector>

#include "m2bert/data/batch_source.h"
#include "m2bert/models/model.h"
#include "m2bert/tasks/task.h"
#include "m2bert/train/processes.h"

namespace m2bert::train {

struct Evaluation {
  std::vector<tasks::Metric> metrics;
  int64_t samples = 0;
  std::vector<float> predictions = {};  // MetricSums::predictions of all processes
  std::string label = {};               // of the evaluation set; empty: the only one
};

// Data to evaluate on. A label tells it from others.
struct EvalSet {
  std::string label;
  data::BatchSource* data;
};

struct EvaluationOptions {
  int64_t batches = -1;  // at most; -1: to the end of the source
  int rows = 0;          // at once; 0: a whole batch
  mx::Dtype compute = mx::float32;
};

// Evaluates the source from its beginning. Every process evaluates its share; the result is that of all. After a signal it stops early and
// returns the metrics of what was evaluated.
Evaluation evaluate(models::Model& model, const tasks::Task& task, data::BatchSource& source, const Processes& processes,
                    const EvaluationOptions& options);

// The same for several sets, with their labels.
std::vector<Evaluation> evaluate_all(models::Model& model, const tasks::Task& task, const std::vector<EvalSet>& sets,
                                     const Processes& processes, const EvaluationOptions& options);

// "NAME", or "LABEL/NAME" where the set has a label.
std::string full_name(const Evaluation& evaluation, const tasks::Metric& metric);

// The metric of that full name, or of that name in the first set; null if there is none.
const double* find(const std::vector<Evaluation>& evaluations, const std::string& name);

}  // namespace m2bert::train
