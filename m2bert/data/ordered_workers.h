#pragma once
// Worker threads that compute results ahead of their consumer and deliver them in the order of the jobs.
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"

namespace m2bert::data {

template <class Job, class Result>
class OrderedWorkers {
 public:
  // next_job is called by one thread at a time, in order, until it returns nullopt or throws; work runs concurrently. Both must own what
  // they use, because the destructor detaches a thread that is stuck in them. At most `ahead` jobs are started before their results are
  // taken.
  OrderedWorkers(int threads, size_t ahead, std::function<std::optional<Job>()> next_job, std::function<Result(Job&)> work)
      : state_(std::make_shared<State>()) {
    state_->next_job = std::move(next_job);
    state_->work = std::move(work);
    state_->ahead = ahead;
    state_->running = threads;
    for (int i = 0; i < threads; ++i) threads_.emplace_back([state = state_] { run(*state); });
  }

  ~OrderedWorkers() {
    std::unique_lock lock(state_->mutex);
    state_->stop = true;
    state_->changed.notify_all();
    const bool ended = state_->changed.wait_for(lock, std::chrono::seconds(1), [&] { return state_->running == 0; });
    lock.unlock();
    for (std::thread& thread : threads_) ended ? thread.join() : thread.detach();
  }
  OrderedWorkers(const OrderedWorkers&) = delete;
  OrderedWorkers& operator=(const OrderedWorkers&) = delete;

  // The next result; nullopt at the end. Rethrows the exception of its job. Throws on Ctrl-C and if the timeout expires (0: no timeout).
  std::optional<Result> next(double timeout_seconds) {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    std::unique_lock lock(state_->mutex);
    const auto ready = [&] { return state_->done.contains(state_->taken) || (state_->running == 0 && state_->done.empty()); };
    while (!state_->changed.wait_for(lock, std::chrono::milliseconds(100), ready)) {
      io::throw_if_interrupted();
      const double waited = std::chrono::duration<double>(Clock::now() - start).count();
      require(timeout_seconds <= 0 || waited < timeout_seconds, "no batch within ", timeout_seconds,
              " seconds (timeout); set it higher, or look at where the data comes from");
    }
    const auto found = state_->done.find(state_->taken);
    if (found == state_->done.end()) return std::nullopt;
    Outcome outcome = std::move(found->second);
    state_->done.erase(found);
    ++state_->taken;
    state_->changed.notify_all();
    if (outcome.error) std::rethrow_exception(outcome.error);
    return std::move(outcome.result);
  }

 private:
  struct Outcome {
    std::optional<Result> result;
    std::exception_ptr error;
  };
  struct State {
    std::function<std::optional<Job>()> next_job;
    std::function<Result(Job&)> work;
    size_t ahead = 1;
    std::mutex mutex, jobs_mutex;
    std::condition_variable changed;
    std::map<uint64_t, Outcome> done;
    uint64_t started = 0, taken = 0;  // jobs started, results taken
    int running = 0;
    bool stop = false, exhausted = false;
  };

  static void run(State& state) {
    while (step(state)) {
    }
    const std::lock_guard lock(state.mutex);
    --state.running;
    state.changed.notify_all();
  }

  // Runs one job; false if there are no more.
  static bool step(State& state) {
    std::unique_lock order(state.jobs_mutex);
    std::unique_lock lock(state.mutex);
    state.changed.wait(lock, [&] { return state.stop || state.exhausted || state.started < state.taken + state.ahead; });
    if (state.stop || state.exhausted) return false;
    const uint64_t number = state.started;
    lock.unlock();
    Outcome outcome;
    std::optional<Job> job;
    try {
      job = state.next_job();
    } catch (...) {
      outcome.error = std::current_exception();
    }
    lock.lock();
    state.exhausted = !job;
    if (!job && !outcome.error) return false;
    ++state.started;
    lock.unlock();
    order.unlock();
    try {
      if (job) outcome.result = state.work(*job);
    } catch (...) {
      outcome.error = std::current_exception();
    }
    job.reset();
    lock.lock();
    state.done.emplace(number, std::move(outcome));
    state.changed.notify_all();
    return true;
  }

  std::shared_ptr<State> state_;
  std::vector<std::thread> threads_;
};

}  // namespace m2bert::data
