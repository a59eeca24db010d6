#pragma once
// One step of training: the loss and its gradient over the microbatches of all processes, then the update.
#include <functional>
#include <future>
#include <map>
#include <optional>

#include "m2bert/models/model.h"
#include "m2bert/nn/placeholder.h"
#include "m2bert/optim/adamw.h"
#include "m2bert/tasks/task.h"
#include "m2bert/train/processes.h"
#include "m2bert/train/votes.h"

namespace m2bert::train {

// How the mean losses of microbatches are weighted in the loss of the batch.
enum class Weighting {
  task,     // by the task's weight (for masked LM the predicted tokens): the mean over the whole batch, however it is cut
  samples,  // by their samples, Composer's default
};

struct StepOptions {
  optim::Clipping clipping;
  Weighting weighting = Weighting::task;
  mx::Dtype compute = mx::float32;  // of the forward and backward pass; parameters and their update stay float32
  uint64_t seed = 17;               // of the dropout masks
  int microbatch_rows = 0;          // 0: the whole batch at once
  // Whether another thread builds the graph of the next microbatch while this one launches the kernels of the present one; otherwise this
  // thread builds it afterwards. nullopt: on a GPU, where launching takes long.
  std::optional<bool> builds_on_thread = {};
  // Whether start() leaves the gradient to the device, so that the update and the next step are launched before its loss is known. nullopt:
  // on a GPU. Not for losses of the whole batch; of several processes only where their gradients are summed in the graph, for steps in
  // which each of them has one microbatch.
  std::optional<bool> defers_loss = {};
  // Whether the gradients of several processes are summed in the graph of the backward pass. nullopt: on GPUs.
  std::optional<bool> sums_in_graph = {};
};

// Loss, norm and counts are of all processes.
struct Gradient : Counts {
  double loss = 0;
  double norm = 0;       // before clipping; NaN or infinite where the loss or a gradient is
  nn::Arrays arrays;     // in the order of the optimizer's parameters
  bool updated = false;  // Step::update() was called before it was known
  bool stop = false;     // one of several processes was asked to stop: no other step is started, and one that is under way is dropped
  bool finite() const;
};

// A gradient that may still be computed: the host knows its loss and norm after Step::finish().
struct StartedGradient {
  Gradient gradient;
  int64_t number = 0;                            // of its batch
  nn::Arrays losses = {};                        // of the microbatches, or their sum over all processes: scalars
  nn::Arrays votes = {};                         // sums over all processes, where they are in the graph: scalars (votes.h)
  std::optional<mx::array> sum_of_squares = {};  // of gradient.arrays, where loss and norm are not known
  bool is_deferred() const { return sum_of_squares.has_value(); }
};

// Gives the batch of the i-th call after this one, whose number is higher by i; null if it is not known.
using Lookahead = std::function<const data::Batch*(int i)>;

class Step {
 public:
  Step(models::Model& model, const tasks::Task& task, optim::AdamW& optimizer, const Processes& processes, const StepOptions& options);

  // The gradient of this process's share of batch `number` (counted from 0), summed over all processes. nullopt if a process was asked to
  // stop: the step is abandoned. A batch of weight 0 has loss 0 and gradient 0.
  // ahead: asked for the next batch while the device works, maybe on another thread: the graph of that batch is built then; not for losses
  // of the whole batch (whole_batch()). What is thrown there is ignored. Where several processes defer losses, it is asked for the one
  // after it too, before, on this thread.
  std::optional<Gradient> gradient(const data::Batch& batch, int64_t number, const Lookahead& ahead = {});
  // Clips the gradient and updates the parameters. factor: the schedule's.
  void update(Gradient& gradient, double factor);

  // gradient() in two parts. Between them the update and the start of the next step can be launched, so that the device never waits for the
  // host. A deferred gradient of several processes is not abandoned if one was asked to stop (Gradient::stop).
  std::optional<StartedGradient> start(const data::Batch& batch, int64_t number, const Lookahead& ahead = {});
  Gradient finish(StartedGradient started);
  // Whether a batch may be started before the gradient of the one before it is finished. Several processes agree on that when the one
  // before that is finished, so all of them start it early, or none.
  bool may_start_early(int64_t number) const;
  // Forgets what was agreed on. For when the same numbers may come to mean other batches.
  void forget_agreements() { agreed_.clear(); }
  // Waits until what was started needs no other process any more. Throws like Processes::wait_for().
  void wait_for_others(const StartedGradient& started) const;
  // The update of a deferred gradient. If its loss or norm turns out to be NaN or infinite, parameters and moments keep their values.
  void update(StartedGradient& started, double factor);

  // Computes the gradient of a dummy batch and discards it, to measure what it costs.
  void dry_run(int rows, int length);

  StepOptions& options() { return options_; }

 private:
  // Rows of a batch whose gradient is computed at once.
  struct Microbatch {
    const data::Batch* batch;
    int64_t number;
    int first, rows;
    int64_t weight;
  };
  // Of all processes.
  struct Totals {
    Counts counts;
    bool one_graph;  // each process has one microbatch
  };
  // The graph of a microbatch, built before its share of the batch and the weights are known.
  struct GraphAhead {
    const int32_t* input_ids;  // of its batch
    int64_t number;
    int first, rows;
    mx::array share;  // a placeholder
    nn::DeferredGrad gradient;
  };

  mx::array key_of(const data::Batch& batch, int first, int64_t number) const;
  std::optional<Microbatch> microbatch(const data::Batch& batch, int64_t number, int first) const;
  bool is_one_graph(const data::Batch& batch) const;
  Counts counts_of(const data::Batch& batch) const;
  std::optional<Totals> totals_of(const data::Batch& batch, int64_t number);
  Vote vote_on(const data::Batch* batch) const;
  mx::array share_of(const Microbatch& m, const Counts& whole) const;
  mx::array loss(const Microbatch& m, const mx::array& share);
  nn::ValueAndGrad graph(const Microbatch& m, const mx::array& share);
  void build_ahead(const std::function<std::optional<Microbatch>()>& next);
  std::future<void> building(std::function<void()> build);
  mx::array embed(const tasks::BatchLoss& task, const data::Batch& batch, int piece, int64_t number);
  std::optional<Gradient> whole_batch_gradient(const tasks::BatchLoss& task, const data::Batch& batch, int64_t number, Gradient gradient);
  bool defers_loss() const;
  bool sums_in_graph() const;
  bool add_microbatches(StartedGradient& started, const data::Batch& batch, bool defers, const Vote& vote, const Lookahead& ahead);
  std::vector<nn::Arrays> end_of_graph(StartedGradient& started, const Vote& vote);
  void read_sums(StartedGradient& started);
  data::Batch labels_of_all(const data::Batch& batch) const;
  void sum_over_processes(Gradient& gradient) const;

  models::Model& model_;
  const tasks::Task& task_;
  optim::AdamW& optimizer_;
  const Processes& processes_;
  std::optional<mx::array> last_sum_;  // over all processes, of the last gradient
  std::map<int64_t, Counts> agreed_;   // of all processes, of batches to come, by number
  StepOptions options_;
  std::optional<GraphAhead> ahead_;
};

}  // namespace m2bert::train
