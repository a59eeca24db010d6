#pragma once
// The training loop.
#include <chrono>
#include <memory>

#include "m2bert/optim/schedule.h"
#include "m2bert/train/evaluation.h"
#include "m2bert/train/loss_guard.h"
#include "m2bert/train/metrics_file.h"
#include "m2bert/train/monitors.h"
#include "m2bert/train/run_folder.h"

namespace m2bert::train {

// An average of the weights that follows them (optim::WeightAverage) and takes their place in evaluations.
struct AverageOptions {
  double smoothing = 0.999;
  int64_t interval = 1;  // batches between updates
};

struct TrainerOptions {
  optim::RunLength length;
  int64_t samples_per_epoch = 0;  // of whole batches that are used
  int64_t global_batch = 0;
  optim::ScheduleOptions schedule;
  optim::Time eval_interval, save_interval;
  EvaluationOptions evaluation;
  AverageOptions average;
  io::Tree recipe;  // saved with every checkpoint
};

// What the loop works with. Loggers, monitors, the folder and the metrics file are the first process's alone.
struct TrainerParts {
  Trained trained;
  Step& step;
  data::BatchSource& data;
  data::BatchSource* eval_data = nullptr;
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

  // Goes on from a state that was loaded; the arrays are there already.
  void resume(const RunState& state);

  // Trains to the end, or until a signal comes: then the last whole step is saved and the end is `stopped`. An error on the way, such as
  // data that cannot be read or a process that died, saves too before it is thrown on.
  TrainingEnd fit();

  const optim::Timestamp& time() const { return time_; }
  const std::optional<Gradient>& last_gradient() const { return last_; }
  const std::optional<Evaluation>& last_evaluation() const { return evaluation_; }
  double seconds() const;  // of training, over all sessions

 private:
  TrainingEnd loop();
  data::TrainBatch next_batch();
  LossGuard::Verdict judged(const Gradient& gradient);
  bool judge(const Gradient& gradient);
  void update(Gradient& gradient);
  void pass_over_batch();
  void log(Gradient& gradient, const optim::Timestamp& before);
  void write(const Record& record);
  void evaluate();
  void save();
  bool weights_are_finite() const;
  void save_what_there_is() noexcept;
  void roll_back();
  RunState state();
  double session_seconds() const;

  TrainerParts parts_;
  TrainerOptions options_;
  optim::Schedule schedule_;
  optim::Timestamp time_;
  data::DataPosition position_;
  int64_t attempts_ = 0;
  double seconds_before_ = 0, paused_ = 0;
  std::chrono::steady_clock::time_point start_;
  std::optional<optim::Timestamp> saved_at_, evaluated_at_;
  bool evaluation_due_ = false;
  bool whole_ = true;  // may be saved: no update is half done, and the loss has not failed
  std::optional<Gradient> last_;
  std::optional<Evaluation> evaluation_;
};

}  // namespace m2bert::train
