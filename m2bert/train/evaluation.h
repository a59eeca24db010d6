#pragma once
// Evaluation of a model on batches with labels.
#include <vector>

#include "m2bert/data/batch_source.h"
#include "m2bert/models/model.h"
#include "m2bert/tasks/task.h"
#include "m2bert/train/processes.h"

namespace m2bert::train {

struct Evaluation {
  std::vector<tasks::Metric> metrics;
  int64_t samples = 0;
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

}  // namespace m2bert::train
