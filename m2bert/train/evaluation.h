#pragma once
// Evaluation of a masked-language model on batches with labels.
#include "m2bert/data/train_batch.h"
#include "m2bert/metrics/language.h"
#include "m2bert/models/model.h"
#include "m2bert/train/processes.h"

namespace m2bert::train {

struct Evaluation {
  metrics::LanguageCrossEntropy cross_entropy;
  metrics::MaskedAccuracy accuracy;
  int64_t samples = 0;
};

// Adds what the model says about the rows of a batch. Inference: no dropout.
void add_batch(Evaluation& evaluation, const models::Model& model, const data::TrainBatch& batch, int first, int rows);

struct EvaluationOptions {
  int64_t batches = -1;  // at most that many; -1: to the end of the source
  int rows = 0;          // at once; 0: a batch's
  mx::Dtype compute = mx::float32;
};

// From the beginning of the source. Every process evaluates its share; the result is that of all. Stops early, with what it has, when a
// signal came.
Evaluation evaluate(models::Model& model, data::BatchSource& source, const Processes& processes, const EvaluationOptions& options);

}  // namespace m2bert::train
