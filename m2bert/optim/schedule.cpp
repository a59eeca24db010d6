#include "m2bert/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "m2bert/error.h"

namespace m2bert::optim {

Decay decay_named(const std::string& name, const std::string& where) {
  if (name == "constant" || name == "constant_with_warmup") return Decay::constant;
  if (name == "linear" || name == "linear_decay_with_warmup") return Decay::linear;
  if (name == "cosine" || name == "cosine_with_warmup") return Decay::cosine;
  if (name == "warmup_stable_decay") return Decay::warmup_stable_decay;
  fail(where, ": no schedule is called \"", name,
       "\"; there are constant_with_warmup, linear_decay_with_warmup, cosine_with_warmup and warmup_stable_decay");
}

Schedule::Schedule(const ScheduleOptions& options, const RunLength& run)
    : options_(options), warmup_(run.resolve(options.t_warmup)), max_(run.resolve(options.t_max)), decay_(run.resolve(options.t_decay)) {
  if (warmup_.value == 0) warmup_.unit = max_.unit;
  if (options.decay == Decay::constant) return;
  require(warmup_.unit == max_.unit, "scheduler: t_warmup (", show(options.t_warmup), ") and the length of the run (",
          show(options.t_max.unit == TimeUnit::duration ? run.max_duration : options.t_max),
          ") count in different units; give both in batches, samples or tokens, or t_warmup as a share of the run (0.06dur)");
  require(warmup_.value < max_.value || max_.value == 0, "scheduler: the warm-up (", show(warmup_), ") is not shorter than the run (",
          show(max_), ")");
  if (options.decay != Decay::warmup_stable_decay) return;
  require(decay_.unit == max_.unit && decay_.value + warmup_.value <= max_.value, "scheduler: t_decay (", show(options.t_decay),
          ") must count in the unit of the run and leave room for the warm-up");
}

double Schedule::factor(const Timestamp& now) const {
  if (double(now.in(warmup_.unit)) < warmup_.value) return double(now.in(warmup_.unit)) / warmup_.value;
  return options_.decay == Decay::constant ? 1 : after_warmup(double(now.in(max_.unit)));
}

double Schedule::after_warmup(double done) const {
  const bool stable = options_.decay == Decay::warmup_stable_decay;
  const double start = stable ? max_.value - decay_.value : warmup_.value, length = max_.value - start;
  const double share = length <= 0 ? (done >= max_.value ? 1.0 : 0.0) : std::clamp((done - start) / length, 0.0, 1.0);
  const double fallen = options_.decay == Decay::cosine ? (1 - std::cos(std::numbers::pi * share)) / 2 : share;
  return 1 + fallen * (options_.alpha_f - 1);
}

}  // namespace m2bert::optim
