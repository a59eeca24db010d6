#include "m2bert/train/trainer.h"

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"

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
}

TrainingEnd Trainer::fit() {
  start_ = Clock::now();
  paused_ = 0;
  parts_.data.seek(position_);
  try {
    return loop();
  } catch (const std::exception&) {
    save_what_there_is();
    throw;
  }
}

TrainingEnd Trainer::loop() {
  if (evaluation_due_) evaluate();
  while (!options_.length.reached(time_)) {
    const auto batch = next_batch();
    auto gradient = parts_.step.gradient(batch, attempts_);
    if (!gradient) {
      save();
      return TrainingEnd::stopped;
    }
    const auto before = time_;
    if (!judge(*gradient)) continue;
    update(*gradient);
    log(*gradient, before);
    if (interval_passed(options_.eval_interval, options_.length, before, time_)) evaluate();
    if (interval_passed(options_.save_interval, options_.length, before, time_)) save();
  }
  if (evaluated_at_ != time_) evaluate();
  save();
  return io::interrupted() ? TrainingEnd::stopped : TrainingEnd::finished;
}

data::TrainBatch Trainer::next_batch() {
  try {
    auto batch = parts_.data.next();
    require(batch.has_value(), "the training data ended after ", position_.samples, " samples of epoch ", position_.epoch,
            ", which should have ", options_.samples_per_epoch);
    return std::move(*batch);
  } catch (const Error&) {
    if (io::interrupted()) return {};  // the step that follows tells the others
    throw;
  }
}

// What the guard says of it. Where it gives up, these weights may be what the loss fails of: the last checkpoint stays the newest.
LossGuard::Verdict Trainer::judged(const Gradient& gradient) {
  try {
    return parts_.guard.judge(gradient);
  } catch (const Error&) {
    whole_ = false;
    throw;
  }
}

// Whether the gradient is used for an update.
bool Trainer::judge(const Gradient& gradient) {
  const auto verdict = judged(gradient);
  const std::string at = "batch " + std::to_string(time_.batch + 1) + ": " + verdict.reason;
  switch (verdict.reaction) {
    case Reaction::ignore: return true;
    case Reaction::warn: io::warn(at); return true;
    case Reaction::skip:
      io::warn(at, "; the batch is left out");
      pass_over_batch();
      return false;
    case Reaction::roll_back:
      io::warn(at, "; going back to the last checkpoint");
      pass_over_batch();
      roll_back();
      return false;
    case Reaction::stop: break;
  }
  whole_ = false;
  fail(at, ". Try a lower learning rate or a longer warm-up; callbacks.loss_guard says what else to do here (skip, roll_back)");
}

void Trainer::update(Gradient& gradient) {
  whole_ = false;
  parts_.step.update(gradient, schedule_.factor(time_));
  ++time_.batch;
  time_.sample += gradient.samples;
  time_.token += gradient.tokens;
  if (parts_.trained.average && time_.batch % options_.average.interval == 0) parts_.trained.average->update(options_.average.smoothing);
  pass_over_batch();
  whole_ = true;
}

// The next batch is behind this one. Its samples count though some were damaged and left out.
void Trainer::pass_over_batch() {
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
  record.add("metrics/train/LanguageCrossEntropy", gradient.loss);
  record.add("metrics/train/Perplexity", metrics::perplexity(gradient.loss));
  record.add("l2_norm/grad/global", gradient.norm);
  const StepReport report{before, time_, gradient, schedule_.factor(before), session_seconds()};
  for (auto& monitor : parts_.monitors) monitor->after_step(report, record);
  write(record);
  gradient.arrays.clear();
  last_ = std::move(gradient);
}

void Trainer::write(const Record& record) {
  for (auto& logger : parts_.loggers) logger->write(record);
}

void Trainer::evaluate() {
  evaluation_due_ = false;
  if (!parts_.eval_data) return;
  const Pause pause(paused_);
  auto* average = parts_.trained.average;
  if (average) average->swap();
  const auto result = train::evaluate(parts_.trained.model, *parts_.eval_data, parts_.processes, options_.evaluation);
  if (average) average->swap();
  evaluation_due_ = parts_.processes.any(io::interrupted());
  if (evaluation_due_) return;  // only a part was evaluated
  evaluated_at_ = time_;
  evaluation_ = result;
  Record record{time_, {}};
  record.add("metrics/eval/LanguageCrossEntropy", result.cross_entropy.value());
  record.add("metrics/eval/MaskedAccuracy", result.accuracy.value());
  record.add("metrics/eval/Perplexity", metrics::perplexity(result.cross_entropy.value()));
  write(record);
}

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
  state.guard = parts_.guard.memory();
  state.recipe = options_.recipe;
  return state;
}

void Trainer::save() {
  if (saved_at_ == time_) return;
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

void Trainer::save_what_there_is() noexcept {
  if (!whole_ || time_.batch == 0) return;
  try {
    save();
  } catch (const std::exception&) {
    // The error that is on its way is the one to report; the last good checkpoint stays.
  }
}

void Trainer::roll_back() {
  std::optional<RunState> state;
  if (parts_.folder) state = parts_.folder->load_latest(parts_.trained);
  const auto text = parts_.processes.copy_from_first(state ? io::to_json(to_tree(*state, parts_.trained.optimizer.steps())) : "");
  require(!text.empty(), "there is no checkpoint to go back to");
  const io::Tree tree = io::parse_json(text, "the state of the run");
  share_arrays(parts_.trained, parts_.processes);
  parts_.trained.optimizer.set_steps(tree.at("optimizer_steps").integer());
  time_ = state_of(tree).time;
  time_.epoch = int64_t(position_.epoch);  // the data go on behind the batch that failed
  saved_at_ = time_;
  parts_.guard.rolled_back(state_of(tree).guard);
}

double Trainer::session_seconds() const { return since(start_) - paused_; }

double Trainer::seconds() const { return seconds_before_ + session_seconds(); }

}  // namespace m2bert::train
