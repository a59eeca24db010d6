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
  const Time& length = options.t_max.unit == TimeUnit::duration ? run.max_duration : options.t_max;
  require(warmup_.unit == max_.unit, options.warmup_where, show(options.t_warmup), " and the length of the run, ", show(length),
          ", count in different units; give both in batches, samples or tokens, or the warm-up as a share of the run (0.06dur)");
  if (options.decay != Decay::warmup_stable_decay || warmup_.value >= max_.value) return;
  require(decay_.unit == max_.unit, options.decay_where, show(options.t_decay), " and the length of the run, ", show(length),
          ", count in different units; give t_decay as a share of the run (0.1dur)");
  require(decay_.value + warmup_.value <= max_.value, options.decay_where, show(options.t_decay), " of ", show(length),
          " leaves no room for the warm-up, ", show(options.t_warmup));
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
