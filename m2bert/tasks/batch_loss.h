#pragma once
// A loss of the embeddings of a whole batch, which cannot be computed microbatch by microbatch: every sample is a negative of all others.
#include "m2bert/data/batch.h"
#include "m2bert/models/model.h"

namespace m2bert::tasks {

class BatchLoss {
 public:
  virtual ~BatchLoss() = default;
  // The embeddings [rows, d] of rows [first, first + rows), float32. Differentiable in the model's weights.
  virtual mx::array embed(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const = 0;
  // The loss of the batches of all processes: their embeddings one below the other [processes * rows, d], and their labels and targets in
  // the same order in `all`, whose rows have no tokens. Differentiable in the embeddings.
  virtual mx::array batch_loss(const mx::array& embeddings, const data::Batch& all, int processes) const = 0;
  // Called with the same arguments once the gradient of the batch is there.
  virtual void after_gradient(const mx::array& embeddings, const data::Batch& all, int processes) const = 0;
};

}  // namespace m2bert::tasks
