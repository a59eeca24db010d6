#pragma once
// The training loop.
#include <chrono>
#include <deque>
#include <exception>
#include <memory>

#include "m2bert/optim/schedule.h"
#include "m2bert/train/evaluation.h"
#include "m2bert/train/loss_guard.h"
#include "m2bert/train/metrics_file.h"
#include "m2bert/train/monitors.h"
#include "m2bert/train/run_folder.h"

namespace m2bert::train {

// A moving average of the weights (optim::WeightAverage), which evaluations use in their place.
struct AverageOptions {
  double smoothing = 0.999;
  int64_t interval = 1;  // batches between updates
};

// Which evaluation was the best one, and when to stop for want of a better one.
struct BestOptions {
  std::string metric;    // NAME, or LABEL/NAME for that of one evaluation set; empty: none is sought
  bool keep = true;      // its weights are saved, and become the model
  int patience = 0;      // evaluations without a better one after which the run ends; 0: it never does
  double threshold = 0;  // by which an evaluation must be better than the best one
};

struct TrainerOptions {
  optim::RunLength length;
  int64_t samples_per_epoch = 0;  // of the batches that are used
  int64_t global_batch = 0;
  optim::ScheduleOptions schedule;
  optim::Time eval_interval, save_interval;
  EvaluationOptions evaluation;
  AverageOptions average;
  BestOptions best;
  io::Tree recipe;        // saved with every checkpoint
  std::string data;       // the same: StreamInfo::fingerprint
  std::string eval_data;  // the same, of the evaluation sets
};

// What the loop works with. Only the first process has loggers, monitors, the folder and the metrics file.
struct TrainerParts {
  Trained trained;
  const tasks::Task& task;
  Step& step;
  data::BatchSource& data;
  std::vector<EvalSet> eval_sets;
  const Processes& processes;
  LossGuard guard;
  std::vector<std::unique_ptr<Monitor>> monitors = {};
  std::vector<std::unique_ptr<Logger>> loggers = {};
  RunFolder* folder = nullptr;
  MetricsFile* metrics = nullptr;  // also one of the loggers
};

enum class TrainingEnd { finished, stopped };

class Trainer {
 public:
  Trainer(TrainerParts parts, TrainerOptions options);

  // Resumes from a state whose arrays are loaded already.
  void resume(const RunState& state);

  // Trains to the end of the run, or until a signal arrives: then the state after the last complete step is saved and `stopped` is
  // returned. Errors, such as data that cannot be read or a process that died, save that state too and are rethrown.
  TrainingEnd fit();

  // Whether nothing is left to train: the length of the run is reached, or it stopped early.
  bool finished() const { return stopped_early_ || options_.length.reached(time_); }
  const optim::Timestamp& time() const { return time_; }
  const std::optional<Gradient>& last_gradient() const { return last_gradient_; }
  const std::vector<Evaluation>& last_evaluations() const { return last_evaluations_; }
  const std::optional<Best>& best() const { return best_; }
  double seconds() const;  // of training, over all sessions

 private:
  // What the data source gave.
  struct Fetched {
    std::optional<data::Batch> batch;
    std::exception_ptr error;
  };

  // A batch of the loop. Its gradient is not there before it is started, and no longer once the run went back to other weights.
  struct InFlight {
    data::Batch batch;
    std::optional<StartedGradient> started;
  };

  TrainingEnd loop();
  bool start();
  void start_next();
  Gradient finish();
  void launch_update();
  bool must_stop() const;
  void settle();
  data::Batch next_batch();
  const data::Batch* fetch_ahead(int i);
  Fetched fetch();
  bool passes_guard(const Gradient& gradient);
  void update(Gradient& gradient);
  void advance_data();
  void log(Gradient& gradient, const optim::Timestamp& before);
  void write(const Record& record);
  void evaluate();
  void look_for_best();
  bool patience_is_over() const;
  void save();
  bool weights_are_finite() const;
  void save_after_error() noexcept;
  void roll_back();
  RunState state();
  double session_seconds() const;

  TrainerParts parts_;
  TrainerOptions options_;
  optim::Schedule schedule_;
  optim::Timestamp time_;
  data::DataPosition position_;
  int64_t attempts_ = 0;
  std::optional<InFlight> current_, next_;  // the batch of this step; the one after it, started early
  std::exception_ptr error_;                // of the early start
  std::deque<Fetched> ahead_;               // the batches after those, fetched before their turn
  bool stop_ = false;                       // several processes know that one of them was asked to stop
  double seconds_before_ = 0;               // of earlier sessions
  double paused_ = 0;                       // seconds of this session spent on evaluations and checkpoints
  std::chrono::steady_clock::time_point start_;
  std::optional<optim::Timestamp> saved_at_, evaluated_at_;
  bool evaluation_due_ = false;
  bool can_save_ = true;  // false in the middle of an update, and once the loss guard stops the run
  std::optional<Gradient> last_gradient_;
  std::vector<Evaluation> last_evaluations_;
  std::optional<Best> best_;
  int64_t evaluations_without_value_ = 0;
  bool stopped_early_ = false;
};

}  // namespace m2bert::train
