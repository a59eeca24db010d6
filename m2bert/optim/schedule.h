#pragma once
// Learning-rate schedules: the factor of every group's learning rate at a moment of the run. Source: composer.optim.scheduler.
#include "m2bert/optim/time.h"

namespace m2bert::optim {

enum class Decay {
  constant,             // 1 after the warm-up
  linear,               // from 1 to alpha_f at t_max
  cosine,               // the same, along half a cosine
  warmup_stable_decay,  // 1, then linearly to alpha_f over the last t_decay
};

struct ScheduleOptions {
  Decay decay = Decay::constant;
  Time t_warmup;  // linearly from 0 to 1: the first batch has learning rate 0
  double alpha_f = 0;
  Time t_max{1, TimeUnit::duration};
  Time t_decay{0.1, TimeUnit::duration};
};

// The decay of a recipe's scheduler.name: constant, linear, cosine, upstream's constant_with_warmup, linear_decay_with_warmup,
// cosine_with_warmup, and warmup_stable_decay. Error that starts with `where` for another name.
Decay decay_named(const std::string& name, const std::string& where);

class Schedule {
 public:
  // Error: t_warmup is in another unit than t_max (as in Composer), or is not shorter.
  Schedule(const ScheduleOptions& options, const RunLength& run);
  double factor(const Timestamp& now) const;

 private:
  double after_warmup(double done) const;

  ScheduleOptions options_;
  Time warmup_, max_, decay_;
};

}  // namespace m2bert::optim
