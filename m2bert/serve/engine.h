#pragma once
// The thread that owns MLX, and its queue. Texts of all requests that fit together become a batch.
//
// Texts wait by class: those of a class have one model, one padded length and one form of result. The class whose first text came first is
// next, with as many of its texts as the token budget of a batch allows. What a batch computes does not depend on who shares it: padding
// never follows the neighbours. A long batch stops after each layer and lets small waiting batches go first, for at most as long as the
// layer took, so that a text of 32,768 tokens delays short ones by one of its layers and not by all of them.
#include <atomic>
#include <chrono>
#include <compare>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "m2bert/infer/embedder.h"
#include "m2bert/serve/served_model.h"

namespace m2bert::serve {

using Clock = std::chrono::steady_clock;
inline double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// What a batch has in common.
struct BatchClass {
  const ServedModel* model = nullptr;
  int length = 0;          // padded; with masked padding, of the class, and batches are padded to their longest text
  int prompt_tokens = 0;   // as in infer::Window
  infer::VectorForm form;  // for models that embed
  auto operator<=>(const BatchClass&) const = default;
};

// A text as the model sees it, and its result.
struct Row {
  BatchClass batch_class;
  std::vector<int32_t> ids, type_ids;
  std::vector<float> values;  // the vector, or the scores of the labels
  std::vector<float> logits;  // of a classifier
};

// A task that runs alone, and what it costs.
struct Task {
  std::function<void()> run;  // on the engine's thread; computes through `model`. It may throw infer::NotFiniteError
  const ServedModel* model = nullptr;
  int64_t texts = 0, tokens = 0, padded_tokens = 0;
};

// The work of one request: rows for batches, or a task.
struct Work {
  std::vector<Row> rows;
  std::optional<Task> task;

  Clock::time_point deadline = Clock::time_point::max();
  std::function<bool()> gone;  // nobody waits for the result; asked before its rows are computed
  // Called once, on the engine's thread or the one that watches the deadlines: without an error, or with the one that ended it (ApiError
  // where the client is to know why).
  std::function<void(std::exception_ptr)> done;

  // Filled by the engine.
  Clock::time_point queued, started, finished;

 private:
  friend class Engine;
  enum class State { waiting, running, done };
  State state = State::waiting;
  size_t rows_left = 0;
  int64_t waiting_tokens = 0;
  std::optional<std::multimap<Clock::time_point, std::weak_ptr<Work>>::iterator> in_deadlines;
};

struct EngineOptions {
  int64_t max_batch_tokens = 16384;  // with padding; a longer text runs alone
  int64_t max_batch_rows = 1024;
  int64_t max_queue_tokens = 16 << 20;              // waiting, with padding
  std::chrono::milliseconds queue_timeout{60'000};  // 0: none
};

// What the engine has done so far, for /metrics.
struct EngineStats {
  uint64_t batches = 0, rows = 0, tokens = 0, padded_tokens = 0, not_finite = 0, expired = 0, abandoned = 0, yields = 0;
  uint64_t watched = 0;  // requests whose deadline is watched
  int64_t waiting_rows = 0, waiting_tokens = 0, last_batch_rows = 0, last_batch_tokens = 0;
  double tokens_per_second = 0;  // with padding, while computing; 0: unknown
  double busy_seconds = 0;
};

class Engine {
 public:
  explicit Engine(const EngineOptions& options);
  ~Engine();  // stops
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Runs `function` on the thread that owns MLX, and returns when it has returned. Rethrows what it throws. For loading models.
  void run(const std::function<void()>& function);
  // Throws ApiError (overloaded, with retry_after) if the queue is full or its end cannot be reached within the timeout: for requests of
  // one text and of many alike. Much longer texts in the queue hold up no short one. A request that finds the queue empty is never refused.
  void submit(std::shared_ptr<Work> work);
  // Ends what runs after its layer's end, and fails what waits and what is still submitted (ErrorKind::unavailable).
  void stop();
  EngineStats stats() const;
  const EngineOptions& options() const { return options_; }

 private:
  struct Entry {
    std::shared_ptr<Work> work;
    size_t row = 0;
    uint64_t number = 0;  // in order of arrival
  };
  using Batch = std::vector<Entry>;
  void loop();
  void watch();
  class LongBatch;
  void run_next(std::unique_lock<std::mutex>& lock);
  void run_task(const std::shared_ptr<Work>& work);
  void drop_ended(std::deque<Entry>& entries);
  void count_time(int64_t tokens, Clock::time_point start);
  void count_computed(int64_t texts, int64_t tokens, int64_t padded, Clock::time_point start);
  Batch take_batch(int64_t most_tokens, bool small_only);
  void compute(const Batch& batch);
  void compute_vectors(const Batch& batch);
  void make_room();
  void finish(const std::shared_ptr<Work>& work, std::exception_ptr error);
  void settle(const Batch& batch, Clock::time_point start);
  void expire(Clock::time_point now);
  int retry_after() const;
  double time_of(int64_t tokens) const;
  int64_t tokens_before(int64_t cost) const;

  EngineOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_, deadline_changed_;
  std::map<BatchClass, std::deque<Entry>> classes_;
  std::deque<Entry> tasks_;
  std::deque<std::function<void()>> calls_;
  std::multimap<Clock::time_point, std::weak_ptr<Work>> deadlines_;
  uint64_t arrivals_ = 0;
  EngineStats stats_;
  bool stop_ = false;
  // Of the engine's thread alone: the long batch that is running.
  bool is_running_ = false, is_making_room_ = false;
  int64_t running_tokens_ = 0, running_layers_ = 1, inner_tokens_ = 0;
  Clock::time_point layer_began_;
  double recent_tokens_ = 0, recent_seconds_ = 0;
  double large_tokens_ = 0, large_seconds_ = 0;  // of large batches alone: a long queue is computed in such, and small ones are slower
  std::thread thread_, watcher_;
};

}  // namespace m2bert::serve
