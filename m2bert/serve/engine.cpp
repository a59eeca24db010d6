#include "m2bert/serve/engine.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <utility>

#include "m2bert/error.h"
#include "m2bert/serve/api_error.h"

namespace m2bert::serve {
namespace {

// Batches of fewer tokens do not stop after their layers.
constexpr int64_t long_batch = 1024;
// A batch may go first if each of its texts is so many times smaller than the running batch.
constexpr int64_t much_smaller = 4;
constexpr int most_retry_seconds = 60;

// A stopped engine leaves its batch by this.
struct Stopped {};

int64_t cost_of(const Row& row) {
  return row.batch_class.model->masks_padding() ? static_cast<int64_t>(row.ids.size()) : row.batch_class.length;
}

// The rows as a batch of the class's length, or with masked padding of the longest row's.
data::Batch batch_of(std::span<const Row* const> rows) {
  const BatchClass& of = rows.front()->batch_class;
  size_t length = static_cast<size_t>(of.length);
  if (of.model->masks_padding()) {
    length = 0;
    for (const Row* row : rows) length = std::max(length, row->ids.size());
  }
  data::Batch batch;
  batch.rows = static_cast<int>(rows.size());
  batch.length = static_cast<int>(length);
  const int32_t pad = of.model->tokenizer().pad_id();
  for (const Row* row : rows) {
    const size_t end = batch.input_ids.size() + length;
    batch.input_ids.insert(batch.input_ids.end(), row->ids.begin(), row->ids.end());
    batch.token_type_ids.insert(batch.token_type_ids.end(), row->type_ids.begin(), row->type_ids.end());
    batch.attention_mask.resize(batch.input_ids.size(), 1);
    batch.input_ids.resize(end, pad);
    batch.token_type_ids.resize(end, 0);
    batch.attention_mask.resize(end, 0);
  }
  return batch;
}

void take_row(std::vector<float>& to, const std::vector<float>& all, size_t row, size_t rows) {
  const auto width = static_cast<std::ptrdiff_t>(all.size() / rows);
  to.assign(all.begin() + static_cast<std::ptrdiff_t>(row) * width, all.begin() + static_cast<std::ptrdiff_t>(row + 1) * width);
}

bool is_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

std::exception_ptr not_finite(uint64_t input, const ServedModel& model) {
  return std::make_exception_ptr(ApiError(ErrorKind::backend, "input " + std::to_string(input) + " gets values that are NaN or infinite" +
                                                                  infer::why_not_finite(model.pretrained())));
}

std::exception_ptr client_gone() {
  return std::make_exception_ptr(ApiError(ErrorKind::unavailable, "the client has closed the connection"));
}

std::exception_ptr shutting_down() { return std::make_exception_ptr(ApiError(ErrorKind::unavailable, "the server is shutting down")); }

}  // namespace

// During its lifetime, the model's passes make room for small batches after each layer.
class Engine::LongBatch {
 public:
  LongBatch(Engine& engine, const ServedModel& model, int64_t tokens) : engine_(engine), model_(model) {
    engine.is_running_ = true;
    engine.running_tokens_ = tokens;
    engine.running_layers_ = std::max(1, model.pretrained().config.num_hidden_layers);
    engine.layer_began_ = Clock::now();
    model.set_after_layer([&engine] { engine.make_room(); });
  }
  ~LongBatch() {
    model_.set_after_layer({});
    engine_.is_running_ = false;
  }
  LongBatch(const LongBatch&) = delete;
  LongBatch& operator=(const LongBatch&) = delete;

 private:
  Engine& engine_;
  const ServedModel& model_;
};

Engine::Engine(const EngineOptions& options) : options_(options) {
  thread_ = std::thread([this] { loop(); });
  watcher_ = std::thread([this] { watch(); });
}

Engine::~Engine() { stop(); }

void Engine::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  deadline_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (watcher_.joinable()) watcher_.join();
}

void Engine::run(const std::function<void()>& function) {
  std::mutex mutex;
  std::condition_variable returned;
  bool done = false;
  std::exception_ptr error;
  {
    const std::lock_guard lock(mutex_);
    calls_.push_back([&] {
      try {
        function();
      } catch (...) {
        error = std::current_exception();
      }
      const std::lock_guard inner(mutex);
      done = true;
      returned.notify_all();
    });
  }
  changed_.notify_all();
  std::unique_lock lock(mutex);
  returned.wait(lock, [&] { return done; });
  if (error) std::rethrow_exception(error);
}

// Seconds in which so many tokens are computed; 0: unknown. The lock is held.
double Engine::time_of(int64_t tokens) const {
  return large_seconds_ > 0 ? static_cast<double>(tokens) * large_seconds_ / large_tokens_ : 0;
}

int Engine::retry_after() const {
  return static_cast<int>(std::clamp(std::ceil(time_of(stats_.waiting_tokens)), 1.0, double{most_retry_seconds}));
}

// The waiting tokens that hold up a text of this cost: those of much longer ones do not. The lock is held.
int64_t Engine::tokens_before(int64_t cost) const {
  const auto holds_up = [&](int64_t other) { return cost * much_smaller > other; };
  int64_t tokens = 0;
  for (const auto& [of, entries] : classes_)
    if (holds_up(of.length)) tokens += static_cast<int64_t>(entries.size()) * of.length;
  for (const Entry& entry : tasks_)
    if (holds_up(entry.work->task->padded_tokens)) tokens += entry.work->waiting_tokens;
  return tokens;
}

void Engine::submit(std::shared_ptr<Work> work) {
  int64_t tokens = work->task ? work->task->padded_tokens : 0, largest = tokens;
  for (const Row& row : work->rows) {
    tokens += cost_of(row);
    largest = std::max<int64_t>(largest, row.batch_class.length);
  }
  const Clock::time_point now = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    if (stop_) std::rethrow_exception(shutting_down());
    const bool too_late = options_.queue_timeout.count() > 0 && time_of(tokens_before(largest)) > seconds(options_.queue_timeout);
    if (stats_.waiting_tokens > 0 && (too_late || stats_.waiting_tokens + tokens > options_.max_queue_tokens)) {
      ApiError error(ErrorKind::overloaded, "the queue is full: " + std::to_string(stats_.waiting_tokens) +
                                                " tokens are waiting, padding included; try again in " + std::to_string(retry_after()) +
                                                " s");
      error.retry_after = retry_after();
      throw error;
    }
    work->queued = now;
    if (options_.queue_timeout.count() > 0) work->deadline = std::min(work->deadline, now + options_.queue_timeout);
    work->waiting_tokens = tokens;
    work->rows_left = work->task ? 1 : work->rows.size();
    stats_.waiting_tokens += tokens;
    stats_.waiting_rows += static_cast<int64_t>(work->rows_left);
    if (work->task) tasks_.push_back({work, 0, arrivals_++});
    for (size_t row = 0; row < work->rows.size(); ++row) classes_[work->rows[row].batch_class].push_back({work, row, arrivals_++});
    if (work->deadline != Clock::time_point::max()) work->in_deadlines = deadlines_.emplace(work->deadline, work);
  }
  changed_.notify_one();
  deadline_changed_.notify_one();
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.watched = deadlines_.size();
  return stats;
}

void Engine::loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stop_ || !calls_.empty() || !tasks_.empty() || !classes_.empty(); });
    if (stop_) break;
    if (!calls_.empty()) {
      const auto call = std::move(calls_.front());
      calls_.pop_front();
      lock.unlock();
      call();
      lock.lock();
      continue;
    }
    run_next(lock);
  }
  std::vector<std::shared_ptr<Work>> left;
  for (const auto& [of, entries] : classes_)
    for (const Entry& entry : entries) left.push_back(entry.work);
  for (const Entry& entry : tasks_) left.push_back(entry.work);
  classes_.clear();
  tasks_.clear();
  lock.unlock();
  for (const auto& work : left) finish(work, shutting_down());
}

// Ends the works whose deadline has passed while none of their rows was computed.
void Engine::expire(Clock::time_point now) {
  std::vector<std::shared_ptr<Work>> late;
  {
    const std::lock_guard lock(mutex_);
    while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
      const auto work = deadlines_.begin()->second.lock();
      deadlines_.erase(deadlines_.begin());
      if (!work) continue;
      work->in_deadlines.reset();
      if (work->state == Work::State::waiting) late.push_back(work);
    }
    stats_.expired += late.size();
  }
  for (const auto& work : late) {
    const double waited = seconds(now - work->queued);
    std::string text = std::to_string(waited);
    text.resize(text.find('.') + 2);
    finish(work, std::make_exception_ptr(ApiError(ErrorKind::deadline, "the request waited " + text +
                                                                           " s in the queue, the most that "
                                                                           "--queue-timeout allows")));
  }
}

void Engine::watch() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (deadlines_.empty()) {
      deadline_changed_.wait(lock);
    } else {
      const Clock::time_point next = deadlines_.begin()->first;  // a copy: the entry may go meanwhile
      deadline_changed_.wait_until(lock, next);
    }
    if (stop_) return;
    lock.unlock();
    expire(Clock::now());
    lock.lock();
  }
}

// Drops the first entries whose work has ended. The lock is held.
void Engine::drop_ended(std::deque<Entry>& entries) {
  for (; !entries.empty() && entries.front().work->state == Work::State::done; entries.pop_front()) --stats_.waiting_rows;
}

// Takes rows of the class whose first row came first, up to so many tokens, but at least one row. Empty: nothing is waiting, or with
// small_only nothing whose texts are much smaller than the running batch. Drops what is no longer wanted. The lock is held.
Engine::Batch Engine::take_batch(int64_t most_tokens, bool small_only) {
  auto chosen = classes_.end();
  for (auto at = classes_.begin(); at != classes_.end();) {
    auto& entries = at->second;
    drop_ended(entries);
    if (entries.empty()) {
      at = classes_.erase(at);
      continue;
    }
    const bool small = cost_of(entries.front().work->rows[entries.front().row]) * much_smaller <= running_tokens_;
    if ((!small_only || small) && (chosen == classes_.end() || entries.front().number < chosen->second.front().number)) chosen = at;
    ++at;
  }
  Batch batch;
  if (chosen == classes_.end()) return batch;
  int64_t tokens = 0;
  auto& entries = chosen->second;
  for (; !entries.empty() && static_cast<int64_t>(batch.size()) < options_.max_batch_rows; drop_ended(entries)) {
    Entry& entry = entries.front();
    const int64_t cost = cost_of(entry.work->rows[entry.row]);
    if (!batch.empty() && tokens + cost > most_tokens) break;
    tokens += cost;
    if (entry.work->state == Work::State::waiting) entry.work->started = Clock::now();
    entry.work->state = Work::State::running;
    entry.work->waiting_tokens -= cost;
    stats_.waiting_tokens -= cost;
    --stats_.waiting_rows;
    batch.push_back(std::move(entry));
    entries.pop_front();
  }
  if (entries.empty()) classes_.erase(chosen);
  return batch;
}

void Engine::run_next(std::unique_lock<std::mutex>& lock) {
  drop_ended(tasks_);
  uint64_t first_row = UINT64_MAX;
  for (const auto& [of, entries] : classes_) first_row = std::min(first_row, entries.front().number);
  if (!tasks_.empty() && tasks_.front().number < first_row) {
    const std::shared_ptr<Work> work = std::move(tasks_.front().work);
    tasks_.pop_front();
    work->state = Work::State::running;
    work->started = Clock::now();
    stats_.waiting_tokens -= work->waiting_tokens;
    --stats_.waiting_rows;
    work->waiting_tokens = 0;
    lock.unlock();
    run_task(work);
    lock.lock();
    return;
  }
  Batch batch = take_batch(options_.max_batch_tokens, false);
  lock.unlock();
  if (!batch.empty()) compute(batch);
  lock.lock();
}

void Engine::run_task(const std::shared_ptr<Work>& work) {
  const Task& task = *work->task;
  if (work->gone && work->gone()) {
    {
      const std::lock_guard lock(mutex_);
      stats_.abandoned += static_cast<uint64_t>(task.texts);
    }
    return finish(work, client_gone());
  }
  const auto start = Clock::now();
  std::exception_ptr error;
  try {
    const LongBatch running(*this, *task.model, task.padded_tokens);
    task.run();
  } catch (const Stopped&) {
    return finish(work, shutting_down());
  } catch (const infer::NotFiniteError& found) {
    error = not_finite(found.text, *task.model);
  } catch (...) {
    return finish(work, std::current_exception());
  }
  {
    const std::lock_guard lock(mutex_);
    count_computed(task.texts, task.tokens, task.padded_tokens, start);
    stats_.not_finite += error ? 1 : 0;
  }
  finish(work, error);
}

// The batch without the rows of clients that have gone.
void Engine::compute(const Batch& taken) {
  Batch batch, abandoned;
  for (const Entry& entry : taken) (entry.work->gone && entry.work->gone() ? abandoned : batch).push_back(entry);
  if (!abandoned.empty()) {
    const std::lock_guard lock(mutex_);
    stats_.abandoned += abandoned.size();
  }
  for (const Entry& entry : abandoned) finish(entry.work, client_gone());
  if (batch.empty()) return;
  const auto start = Clock::now();
  try {
    compute_vectors(batch);
  } catch (const Stopped&) {
    for (const Entry& entry : batch) finish(entry.work, shutting_down());
    return;
  } catch (...) {
    if (batch.size() == 1) {
      finish(batch.front().work, std::current_exception());
      return;
    }
    for (const Entry& entry : batch) compute({entry});  // one row must not fail the others
    return;
  }
  settle(batch, start);
}

void Engine::compute_vectors(const Batch& batch) {
  std::vector<const Row*> rows;
  int64_t tokens = 0;
  for (const Entry& entry : batch) {
    rows.push_back(&entry.work->rows[entry.row]);
    tokens += cost_of(*rows.back());
  }
  const BatchClass& of = rows.front()->batch_class;
  const data::Batch input = batch_of(rows);
  std::optional<LongBatch> running;
  if (!is_running_ && tokens >= long_batch) running.emplace(*this, *of.model, tokens);
  std::vector<float> values, logits;
  if (of.model->task() == ModelTask::embed) {
    values = of.model->embedder().embed(input, of.prompt_tokens, of.form);
  } else {
    auto scores = of.model->classifier().scores(input);
    values = std::move(scores.scores);
    logits = std::move(scores.logits);
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    Row& row = batch[i].work->rows[batch[i].row];
    take_row(row.values, values, i, batch.size());
    if (!logits.empty()) take_row(row.logits, logits, i, batch.size());
  }
}

// Called after each layer of a long batch, and of the small ones that run meanwhile, which do not stop.
void Engine::make_room() {
  if (is_making_room_) return;
  is_making_room_ = true;
  const auto layer_took = Clock::now() - layer_began_;
  const auto until = Clock::now() + layer_took;
  while (Clock::now() < until) {
    Batch batch;
    {
      const std::lock_guard lock(mutex_);
      if (stop_) break;
      batch = take_batch(std::min(options_.max_batch_tokens, running_tokens_ / running_layers_), true);
      if (!batch.empty()) ++stats_.yields;
    }
    if (batch.empty()) break;
    compute(batch);
  }
  is_making_room_ = false;
  const std::lock_guard lock(mutex_);
  if (stop_) throw Stopped{};
  layer_began_ = Clock::now();
}

// The lock is held. Batches that ran within a long one count with it.
void Engine::count_time(int64_t tokens, Clock::time_point start) {
  if (is_running_) {
    inner_tokens_ += tokens;
    return;
  }
  constexpr double kept = 0.9;
  const double took = seconds(Clock::now() - start);
  const auto all = static_cast<double>(tokens + std::exchange(inner_tokens_, 0));
  stats_.busy_seconds += took;
  recent_tokens_ = kept * recent_tokens_ + all;
  recent_seconds_ = kept * recent_seconds_ + took;
  stats_.tokens_per_second = recent_tokens_ / std::max(recent_seconds_, 1e-9);
  if (all < static_cast<double>(long_batch)) return;
  large_tokens_ = kept * large_tokens_ + all;
  large_seconds_ = kept * large_seconds_ + took;
}

// The lock is held.
void Engine::count_computed(int64_t texts, int64_t tokens, int64_t padded, Clock::time_point start) {
  count_time(padded, start);
  stats_.rows += static_cast<uint64_t>(texts);
  stats_.tokens += static_cast<uint64_t>(tokens);
  stats_.padded_tokens += static_cast<uint64_t>(padded);
}

// Counts a computed batch, and ends the works that are complete.
void Engine::settle(const Batch& batch, Clock::time_point start) {
  int64_t tokens = 0, padded = 0;
  for (const Entry& entry : batch) {
    const Row& row = entry.work->rows[entry.row];
    tokens += static_cast<int64_t>(row.ids.size());
    padded += cost_of(row);
  }
  std::vector<std::pair<std::shared_ptr<Work>, std::exception_ptr>> ended;
  {
    const std::lock_guard lock(mutex_);
    count_computed(static_cast<int64_t>(batch.size()), tokens, padded, start);
    ++stats_.batches;
    stats_.last_batch_rows = static_cast<int64_t>(batch.size());
    stats_.last_batch_tokens = padded;
    for (const Entry& entry : batch) {
      const Row& row = entry.work->rows[entry.row];
      if (!is_finite(row.values)) {
        ++stats_.not_finite;
        ended.emplace_back(entry.work, not_finite(entry.row, *row.batch_class.model));
      } else if (--entry.work->rows_left == 0) {
        ended.emplace_back(entry.work, nullptr);
      }
    }
  }
  for (const auto& [work, error] : ended) finish(work, error);
}

void Engine::finish(const std::shared_ptr<Work>& work, std::exception_ptr error) {
  {
    const std::lock_guard lock(mutex_);
    if (work->state == Work::State::done) return;
    work->state = Work::State::done;
    work->finished = Clock::now();
    if (work->started == Clock::time_point{}) work->started = work->finished;
    stats_.waiting_tokens -= work->waiting_tokens;
    work->waiting_tokens = 0;
    if (work->in_deadlines) deadlines_.erase(*work->in_deadlines);
    work->in_deadlines.reset();
  }
  const auto done = std::move(work->done);
  done(error);
}

}  // namespace m2bert::serve
