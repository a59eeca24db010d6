#pragma once
// One step of training: the loss and its gradient over the microbatches of all processes, then the update.
#include <optional>

#include "m2bert/data/train_batch.h"
#include "m2bert/models/model.h"
#include "m2bert/optim/adamw.h"
#include "m2bert/train/processes.h"

namespace m2bert::train {

// What a microbatch's mean loss counts in the loss of the batch.
enum class Weighting {
  tokens,   // its predicted tokens: the mean over all of the batch, however it is cut
  samples,  // its samples, as Composer weights by default
};

struct StepOptions {
  optim::Clipping clipping;
  Weighting weighting = Weighting::tokens;
  mx::Dtype compute = mx::float32;  // of matrix products and what lies between them; parameters and their update stay float32
  uint64_t seed = 17;               // of the dropout masks
  int microbatch_rows = 0;          // 0: the whole batch at once
};

struct Gradient {
  double loss = 0;  // of all processes
  double norm = 0;  // before clipping; NaN or infinite where the loss or a gradient is
  int64_t samples = 0, tokens = 0, predicted = 0;
  nn::Arrays arrays;  // in the order of the optimizer's parameters
  bool finite() const;
};

class Step {
 public:
  Step(models::Model& model, optim::AdamW& optimizer, const Processes& processes, const StepOptions& options);

  // The gradient of this process's share of batch `number` (counted from 0), summed over all processes. Nothing if a process was asked to
  // stop: the step is given up. A batch without a token to predict has loss 0 and gradient 0.
  std::optional<Gradient> gradient(const data::TrainBatch& batch, int64_t number);
  // Clips and updates. factor: the schedule's.
  void update(Gradient& gradient, double factor);

  // The gradient of so many made-up rows, thrown away: to see what it takes.
  void try_rows(int rows, int length);

  StepOptions& options() { return options_; }

 private:
  nn::ValueAndGrad microbatch(const data::TrainBatch& batch, int first, int rows, double weight, int64_t number);

  models::Model& model_;
  optim::AdamW& optimizer_;
  const Processes& processes_;
  StepOptions options_;
};

// Rows [first, first + rows) of a batch as arrays.
models::Batch model_input(const data::TrainBatch& batch, int first, int rows);
mx::array label_array(const data::TrainBatch& batch, int first, int rows);

// Tokens that count in the loss in rows [first, first + rows): labels > 0, for Hugging Face's BERT labels >= 0.
int64_t count_predicted(const models::Config& config, const data::TrainBatch& batch, int first, int rows);

}  // namespace m2bert::train
