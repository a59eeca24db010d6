#pragma once
// A worker thread that prepares values ahead of their use, through a bounded queue.
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace m2bert::infer {

template <class T>
class ReadAhead {
 public:
  // produce is called on the worker alone, until it returns nullopt or throws. It must own what it uses: the destructor detaches a worker
  // that is blocked in it (reading a terminal or a pipe).
  ReadAhead(std::function<std::optional<T>()> produce, size_t capacity) : state_(std::make_shared<State>()) {
    state_->produce = std::move(produce);
    state_->capacity = capacity;
    worker_ = std::thread([state = state_] { work(*state); });
  }

  ~ReadAhead() {
    std::unique_lock lock(state_->mutex);
    state_->stop = true;
    state_->changed.notify_all();
    const bool ended = state_->changed.wait_for(lock, std::chrono::seconds(1), [&] { return state_->ended; });
    lock.unlock();
    if (ended) worker_.join();
    else worker_.detach();
  }

  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // Whether next() has a value and need not wait for it.
  bool has_next() const {
    const std::lock_guard lock(state_->mutex);
    return !state_->values.empty();
  }

  // The next value in order; nullopt at the end. Rethrows what produce threw, after the values before it.
  // stop is called ten times a second while waiting: true returns nullopt at once.
  std::optional<T> next(const std::function<bool()>& stop = {}) {
    std::unique_lock lock(state_->mutex);
    const auto ready = [&] { return !state_->values.empty() || state_->ended; };
    while (!state_->changed.wait_for(lock, std::chrono::milliseconds(100), ready))
      if (stop && stop()) return std::nullopt;
    if (state_->values.empty()) {
      if (state_->error) std::rethrow_exception(std::exchange(state_->error, nullptr));
      return std::nullopt;
    }
    std::optional<T> value = std::move(state_->values.front());
    state_->values.pop_front();
    state_->changed.notify_all();
    return value;
  }

 private:
  struct State {
    std::function<std::optional<T>()> produce;
    size_t capacity = 1;
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<T> values;
    std::exception_ptr error;
    bool stop = false, ended = false;
  };

  static void work(State& state) {
    std::exception_ptr error;
    try {
      while (std::optional<T> value = state.produce()) {
        std::unique_lock lock(state.mutex);
        state.changed.wait(lock, [&] { return state.stop || state.values.size() < state.capacity; });
        if (state.stop) break;
        state.values.push_back(std::move(*value));
        state.changed.notify_all();
      }
    } catch (...) {
      error = std::current_exception();
    }
    const std::lock_guard lock(state.mutex);
    state.error = error;
    state.ended = true;
    state.changed.notify_all();
  }

  std::shared_ptr<State> state_;
  std::thread worker_;
};

}  // namespace m2bert::infer
