#pragma once
// The callbacks of a recipe that measure: what each adds to the record of a step.
#include <deque>
#include <functional>

#include "m2bert/optim/adamw.h"
#include "m2bert/train/record.h"
#include "m2bert/train/step.h"

namespace m2bert::train {

struct StepReport {
  optim::Timestamp before, now;
  Gradient& gradient;  // with its arrays if a monitor reads them
  double factor;       // of the learning rates
  double seconds;      // of training since the start of the session, without evaluations and checkpoints
};

class Monitor {
 public:
  virtual ~Monitor() = default;
  virtual void after_step(const StepReport& step, Record& record) = 0;
  virtual bool reads_gradient() const { return false; }  // whether it needs StepReport::gradient.arrays
};

// speed_monitor: batches, samples and tokens a second over the last `window` steps, of all processes and of one (throughput/device/...),
// and the model FLOPs utilization (throughput/device/mfu).
class SpeedMonitor : public Monitor {
 public:
  // flops: the operations of one process in a step; peak: operations a second that one process can reach, 0 if unknown, which leaves mfu
  // out.
  SpeedMonitor(int window, int processes, std::function<double(const Gradient&)> flops, double peak)
      : window_(window), processes_(processes), flops_(std::move(flops)), peak_(peak) {}
  void after_step(const StepReport& step, Record& record) override;

 private:
  struct Moment {
    double seconds, flops;
    optim::Timestamp time;
  };
  int window_, processes_;
  std::function<double(const Gradient&)> flops_;
  double peak_, flops_so_far_ = 0;
  std::deque<Moment> moments_;
};

// lr_monitor: the learning rate of each group, lr-AdamW/NAME.
class LearningRateMonitor : public Monitor {
 public:
  explicit LearningRateMonitor(const optim::AdamW& optimizer) : optimizer_(optimizer) {}
  void after_step(const StepReport& step, Record& record) override;

 private:
  const optim::AdamW& optimizer_;
};

// memory_monitor: bytes of the process (memory/resident, memory/peak_resident) and of MLX's arrays (memory/arrays, memory/peak_arrays).
class MemoryMonitor : public Monitor {
 public:
  void after_step(const StepReport& step, Record& record) override;
};

// optimizer_monitor: the norm of each gradient, and with moments those of each parameter and its moments.
class OptimizerMonitor : public Monitor {
 public:
  OptimizerMonitor(optim::AdamW& optimizer, bool moments) : optimizer_(optimizer), moments_(moments) {}
  void after_step(const StepReport& step, Record& record) override;
  bool reads_gradient() const override { return true; }

 private:
  optim::AdamW& optimizer_;
  bool moments_;
};

// runtime_estimator: seconds until the end of the run (time/remaining_estimate).
class RuntimeEstimator : public Monitor {
 public:
  explicit RuntimeEstimator(const optim::RunLength& run) : run_(run) {}
  void after_step(const StepReport& step, Record& record) override;

 private:
  optim::RunLength run_;
  double first_share_ = -1;
};

}  // namespace m2bert::train
