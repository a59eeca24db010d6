#include "m2bert/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/log.h"
#include "m2bert/metrics/names.h"

namespace m2bert::train {

namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Adds its lifetime to a sum.
class Pause {
 public:
  explicit Pause(double& sum) : sum_(sum), start_(Clock::now()) {}
  ~Pause() { sum_ += since(start_); }
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;

 private:
  double& sum_;
  Clock::time_point start_;
};

}  // namespace

Trainer::Trainer(TrainerParts parts, TrainerOptions options)
    : parts_(std::move(parts)), options_(std::move(options)), schedule_(options_.schedule, options_.length), start_(Clock::now()) {}

void Trainer::resume(const RunState& state) {
  time_ = state.time;
  position_ = state.position;
  attempts_ = state.attempts;
  seconds_before_ = state.seconds;
  parts_.guard.restore(state.guard);
  saved_at_ = time_;
  if (state.evaluated) evaluated_at_ = time_;
  evaluation_due_ = state.evaluation_due;
  best_ = state.best;
  evaluations_without_value_ = state.evaluations_without_value;
  stopped_early_ = state.stopped_early && patience_is_over();  // the patience may have been raised since
}

TrainingEnd Trainer::fit() {
  start_ = Clock::now();
  paused_ = 0;
  current_.reset(), next_.reset(), ahead_.clear();
  error_ = nullptr;
  stop_ = false;
  parts_.step.forget_agreements();
  parts_.data.seek(position_);
  try {
    return loop();
  } catch (const std::exception&) {
    save_after_error();
    throw;
  }
}

TrainingEnd Trainer::loop() {
  if (evaluation_due_) evaluate();
  while (!finished() && start()) {
    const auto before = time_;
    auto gradient = finish();
    if (passes_guard(gradient)) {
      update(gradient);
      log(gradient, before);
      if (interval_passed(options_.eval_interval, options_.length, before, time_)) evaluate();
      if (interval_passed(options_.save_interval, options_.length, before, time_)) save();
    }
    current_ = std::exchange(next_, std::nullopt);
    if (error_ && !finished()) std::rethrow_exception(std::exchange(error_, nullptr));
  }
  settle();
  current_.reset();
  if (!finished()) {
    save();
    return TrainingEnd::stopped;
  }
  if (evaluated_at_ != time_) evaluate();
  save();
  return parts_.processes.any(io::interrupted()) ? TrainingEnd::stopped : TrainingEnd::finished;
}

// Starts the gradient of the next batch unless it is under way. False if a process was asked to stop: what is under way is dropped.
bool Trainer::start() {
  if (must_stop()) return false;
  if (!current_) current_.emplace(InFlight{next_batch(), std::nullopt});
  if (!current_->started) current_->started = parts_.step.start(current_->batch, attempts_, [this](int i) { return fetch_ahead(i); });
  return current_->started.has_value();
}

// Whether to stop without asking the other processes, which come to the same answer. Where the step is not under way, its start asks them.
bool Trainer::must_stop() const {
  if (parts_.processes.size() > 1) return stop_;
  return current_ && current_->started && io::interrupted();
}

// Waits for the gradient. Where it is deferred, and only a loss that is not finite can be a reason against its update, the update and the
// next step are launched before.
Gradient Trainer::finish() {
  if (current_->started->is_deferred() && !parts_.guard.may_reject_spikes()) {
    can_save_ = false;
    launch_update();
    start_next();
  }
  auto gradient = parts_.step.finish(*std::exchange(current_->started, std::nullopt));
  stop_ = gradient.stop;
  return gradient;
}

void Trainer::launch_update() {
  parts_.step.update(*current_->started, schedule_.factor(time_));
  const auto reads = [](const auto& monitor) { return monitor->reads_gradient(); };
  if (std::ranges::none_of(parts_.monitors, reads)) current_->started->gradient.arrays.clear();
}

// An error waits until this step is complete. A batch that is not started has its turn later.
void Trainer::start_next() {
  if (ahead_.empty() || !ahead_.front().batch || !parts_.step.may_start_early(attempts_ + 1)) return;
  next_.emplace(InFlight{next_batch(), std::nullopt});
  try {
    next_->started = parts_.step.start(next_->batch, attempts_ + 1, [this](int i) { return fetch_ahead(1 + i); });
  } catch (...) {
    error_ = std::current_exception();
  }
}

// Waits until a step that was started early needs no other process any more. Whatever the device computes after it would wait without end
// if one were gone; then nothing can be saved.
void Trainer::settle() {
  for (const auto* step : {&current_, &next_}) {
    if (!*step || !(*step)->started) continue;
    const bool could_save = std::exchange(can_save_, false);
    parts_.step.wait_for_others(*(*step)->started);
    can_save_ = could_save;
  }
}

data::Batch Trainer::next_batch() {
  try {
    if (ahead_.empty()) ahead_.push_back(fetch());
    auto fetched = std::move(ahead_.front());
    ahead_.pop_front();
    if (fetched.error) std::rethrow_exception(fetched.error);
    require(fetched.batch.has_value(), "the training data ended after ", position_.samples, " samples of epoch ", position_.epoch,
            ", which should have ", options_.samples_per_epoch);
    return std::move(*fetched.batch);
  } catch (const Error&) {
    if (io::interrupted()) return {};  // the step that follows informs the other processes
    throw;
  }
}

// The batch that is i after that of this step. Null if there is none, at the end of the run and of an epoch, where the data begin anew.
// Errors wait for the batch's turn.
const data::Batch* Trainer::fetch_ahead(int i) {
  const int64_t samples = i * options_.global_batch;
  auto then = time_;
  then.batch += i;
  then.sample += samples;
  if (int64_t(position_.samples) + samples >= options_.samples_per_epoch || options_.length.reached(then)) return nullptr;
  const size_t place = size_t(next_ ? i - 2 : i - 1);
  while (ahead_.size() <= place) {
    if (!ahead_.empty() && !ahead_.back().batch) return nullptr;
    ahead_.push_back(fetch());
  }
  return ahead_[place].batch ? &*ahead_[place].batch : nullptr;
}

Trainer::Fetched Trainer::fetch() {
  try {
    return {parts_.data.next(), nullptr};
  } catch (...) {
    return {std::nullopt, std::current_exception()};
  }
}

// Whether the gradient may be used for an update. When the guard stops the run, these weights may be the reason: they are not saved, and
// the last checkpoint stays the newest.
bool Trainer::passes_guard(const Gradient& gradient) {
  if (!gradient.finite()) settle();  // the run may end or go back
  can_save_ = false;
  const auto verdict = parts_.guard.judge(gradient);
  can_save_ = verdict.reaction != Reaction::stop;
  const std::string at = "batch " + std::to_string(time_.batch + 1) + ": " + verdict.reason;
  switch (verdict.reaction) {
    case Reaction::ignore: return true;
    case Reaction::warn: io::warn(at); return true;
    case Reaction::skip:
      io::warn(at, "; skipping the batch");
      advance_data();
      return false;
    case Reaction::roll_back:
      io::warn(at, "; rolling back to the last checkpoint");
      advance_data();
      roll_back();
      return false;
    case Reaction::stop: break;
  }
  fail(at, options_.evaluation.compute == mx::float32 ? "" : " (precision: amp_bf16)",
       ". Try a lower learning rate or a longer warm-up; callbacks.loss_guard says what else to do here (skip, roll_back)");
}

void Trainer::update(Gradient& gradient) {
  can_save_ = false;
  if (!gradient.updated) parts_.step.update(gradient, schedule_.factor(time_));
  ++time_.batch;
  time_.sample += gradient.samples;
  time_.token += gradient.tokens;
  if (parts_.trained.average && time_.batch % options_.average.interval == 0) parts_.trained.average->update(options_.average.smoothing);
  advance_data();
  can_save_ = true;
}

// Moves to the next batch. All samples of this one count, also damaged ones that were skipped.
void Trainer::advance_data() {
  ++attempts_;
  position_.samples += uint64_t(std::min(options_.global_batch, options_.samples_per_epoch - int64_t(position_.samples)));
  if (int64_t(position_.samples) < options_.samples_per_epoch) return;
  position_ = {position_.epoch + 1, 0};
  time_.epoch = int64_t(position_.epoch);
  parts_.data.seek(position_);
}

void Trainer::log(Gradient& gradient, const optim::Timestamp& before) {
  Record record{time_, {}};
  record.add("loss/train/total", gradient.loss);
  for (const auto& metric : parts_.task.train_metrics(gradient.loss)) record.add("metrics/train/" + metric.name, metric.value);
  record.add("l2_norm/grad/global", gradient.norm);
  if (!gradient.arrays.empty()) settle();  // monitors read them
  const StepReport report{before, time_, gradient, schedule_.factor(before), session_seconds()};
  for (auto& monitor : parts_.monitors) monitor->after_step(report, record);
  write(record);
  gradient.arrays.clear();
  last_gradient_ = std::move(gradient);
}

void Trainer::write(const Record& record) {
  for (auto& logger : parts_.loggers) logger->write(record);
}

void Trainer::evaluate() {
  evaluation_due_ = false;
  if (parts_.eval_sets.empty()) return;
  settle();
  const Pause pause(paused_);
  const optim::SwappedAverage swapped(parts_.trained.average);
  auto results = evaluate_all(parts_.trained.model, parts_.task, parts_.eval_sets, parts_.processes, options_.evaluation);
  evaluation_due_ = parts_.processes.any(io::interrupted());
  if (evaluation_due_) {  // a signal cut it short
    stop_ = true;
    return;
  }
  evaluated_at_ = time_;
  Record record{time_, {}};
  for (const auto& result : results) {
    for (const auto& metric : result.metrics) record.add("metrics/eval/" + full_name(result, metric), metric.value);
  }
  write(record);
  last_evaluations_ = std::move(results);
  if (!options_.best.metric.empty()) look_for_best();
}

// With the weights that were evaluated in place.
void Trainer::look_for_best() {
  const auto& options = options_.best;
  const double* value = find(last_evaluations_, options.metric);
  require(value != nullptr, "the evaluation has no metric ", options.metric);
  const double gain = best_ ? (*value - best_->value) * (metrics::higher_is_better(options.metric) ? 1 : -1) : 0;
  if (std::isfinite(*value) && (!best_ || gain > options.threshold)) {
    best_ = Best{*value, time_.batch, 0};
    if (options.keep && parts_.folder) parts_.folder->save_best(parts_.trained.model, *best_);
  } else if (best_) {
    ++best_->evaluations_since;
  } else if (options.patience > 0) {
    ++evaluations_without_value_;
    require(evaluations_without_value_ < options.patience, "batch ", time_.batch, ": ", options.metric, " was NaN or infinite in all ",
            evaluations_without_value_,
            " evaluations so far, so none is the best (early_stopping_patience); metric_for_best_model can name ", "another metric");
  }
  stopped_early_ = patience_is_over();
  if (stopped_early_)
    io::info("batch ", time_.batch, ": no better ", options.metric, " in ", best_->evaluations_since, " evaluations; the run ends");
}

bool Trainer::patience_is_over() const { return options_.best.patience > 0 && best_ && best_->evaluations_since >= options_.best.patience; }

RunState Trainer::state() {
  RunState state;
  state.time = time_;
  state.position = position_;
  state.attempts = attempts_;
  state.microbatch_rows = parts_.step.options().microbatch_rows;
  state.log_bytes = parts_.metrics ? parts_.metrics->size() : 0;
  state.seconds = seconds();
  state.evaluated = evaluated_at_ == time_;
  state.evaluation_due = evaluation_due_;
  state.best = best_;
  state.evaluations_without_value = evaluations_without_value_;
  state.stopped_early = stopped_early_;
  state.guard = parts_.guard.state();
  state.recipe = options_.recipe;
  state.data = options_.data;
  state.eval_data = options_.eval_data;
  return state;
}

void Trainer::save() {
  if (saved_at_ == time_) return;
  settle();
  require(weights_are_finite(), "after batch ", time_.batch, " weights are NaN or infinite, and are not saved: ",
          saved_at_ ? "the checkpoint of batch " + std::to_string(saved_at_->batch) + " is the last one" : "there is no checkpoint",
          ". Try a lower learning rate or a longer warm-up");
  parts_.guard.saved();
  saved_at_ = time_;
  if (!parts_.folder) return;
  const Pause pause(paused_);
  for (auto& logger : parts_.loggers) logger->sync();
  const auto file = parts_.folder->save(parts_.trained, state());
  io::debug("saved ", file.string());
}

bool Trainer::weights_are_finite() const {
  mx::array finite(true);
  for (const auto& w : nn::parameters(parts_.trained.model)) finite = mx::logical_and(finite, mx::all(mx::isfinite(*w.array)));
  return finite.item<bool>();
}

void Trainer::save_after_error() noexcept {
  if (!can_save_ || time_.batch == 0) return;
  try {
    save();
  } catch (const std::exception&) {
    // The first error is the one to report; the last good checkpoint stays.
  }
}

void Trainer::roll_back() {
  std::optional<RunState> state;
  if (parts_.folder) state = parts_.folder->load_latest(parts_.trained);
  state = broadcast_run(state, parts_.trained, parts_.processes);
  require(state.has_value(), "there is no checkpoint to go back to");
  if (next_) next_->started.reset();  // it has the gradient of other weights
  time_ = state->time;
  time_.epoch = int64_t(position_.epoch);  // the data continue after the batch that failed
  saved_at_ = time_;
  parts_.guard.rolled_back(state->guard);
}

double Trainer::session_seconds() const { return since(start_) - paused_; }

double Trainer::seconds() const { return seconds_before_ + session_seconds(); }

}  // namespace m2bert::train
