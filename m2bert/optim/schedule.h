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
  std::string warmup_where = "t_warmup: ", decay_where = "t_decay: ";  // the start of errors about them
};

// The decay of a recipe's scheduler.name: constant, linear, cosine, upstream's constant_with_warmup, linear_decay_with_warmup,
// cosine_with_warmup, and warmup_stable_decay. Error that starts with `where` for another name.
Decay decay_named(const std::string& name, const std::string& where);

class Schedule {
 public:
  // A warm-up may last as long as the run, or longer: then the run ends in it. Error: t_warmup counts in another unit than t_max (as in
  // Composer); t_decay does, or begins within the warm-up.
  Schedule(const ScheduleOptions& options, const RunLength& run);
  double factor(const Timestamp& now) const;

 private:
  double after_warmup(double done) const;

  ScheduleOptions options_;
  Time warmup_, max_, decay_;
};

}  // namespace m2bert::optim
