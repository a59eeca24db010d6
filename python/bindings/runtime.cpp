#include "python/bindings/runtime.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "m2bert/error.h"
#include "m2bert/threads.h"
#include "python/bindings/bind.h"

namespace m2bert::python {
namespace {

// A piece of work, and where its caller waits for it.
struct Job {
  explicit Job(std::function<void()> work) : run(std::move(work)) {}
  std::function<void()> run;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::exception_ptr error;

  void finish(std::exception_ptr thrown) {
    const std::lock_guard lock(mutex);
    error = std::move(thrown);
    done = true;
    changed.notify_all();
  }
  bool wait(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, time, [&] { return done; });
  }
};

// The thread that computes. It lives as long as the process, which a fork is not.
class Computer {
 public:
  Computer() : process_(getpid()), thread_([this] { work(); }) {}

  void add(const std::shared_ptr<Job>& job) {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(job);
    changed_.notify_one();
  }
  void join() {
    if (getpid() != process_) return;
    add(nullptr);
    thread_.join();
  }
  pid_t process() const { return process_; }
  bool is_this_thread() const { return thread_.get_id() == std::this_thread::get_id(); }

 private:
  void work() {
    while (const std::shared_ptr<Job> job = next()) {
      std::exception_ptr error;
      try {
        job->run();
      } catch (...) {
        error = std::current_exception();
      }
      job->finish(std::move(error));
    }
  }
  std::shared_ptr<Job> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !jobs_.empty(); });
    std::shared_ptr<Job> job = std::move(jobs_.front());
    jobs_.pop_front();
    return job;
  }

  const pid_t process_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> jobs_;
  std::thread thread_;
};

// Python ends: work stops, and threads that wait for it no longer return to Python.
std::atomic<bool> ending = false;

void stay_if_ending() {
  while (ending) std::this_thread::sleep_for(std::chrono::hours(1));
}

// Never freed: a forked process could not join its thread. The GIL protects it.
Computer* computer = nullptr;

Computer& started_computer() {
  if (!computer) computer = new Computer;
  if (computer->process() != getpid())
    throw std::runtime_error(
        "m2bert was used before this process was forked, and the threads that it computes with do not survive a fork. Start processes with "
        "the method 'spawn' or 'forkserver' (multiprocessing.get_context('spawn')), or load the first model after the fork.");
  return *computer;
}

// What Python's handlers of signals raise; null: nothing.
std::exception_ptr raised_by_signal() {
  stay_if_ending();
  const nb::gil_scoped_acquire gil;
  return PyErr_CheckSignals() == 0 ? nullptr : std::make_exception_ptr(nb::python_error());
}

void end() {
  ending = true;
  const nb::gil_scoped_release released;
  if (computer) computer->join();
}

}  // namespace

WithoutGil::~WithoutGil() { stay_if_ending(); }

void check_signals() {
  if (const auto raised = raised_by_signal()) std::rethrow_exception(raised);
}

mx::Device device_named(const std::optional<std::string>& name) {
  if (!name) return mx::is_available(mx::default_device()) ? mx::default_device() : mx::Device(mx::Device::cpu);
  require(*name == "cpu" || *name == "gpu", "device '", *name, "': it can be 'cpu' or 'gpu'");
  const mx::Device device = *name == "gpu" ? mx::Device::gpu : mx::Device::cpu;
  require(mx::is_available(device), "device 'gpu': MLX finds no GPU here");
  return device;
}

void compute(const mx::Device& device, const std::function<void(const Stop&)>& work) {
  if (started_computer().is_this_thread()) {  // a callback of the work that runs
    const WithoutGil released;
    work([] { return ending.load(); });
    return;
  }
  std::atomic<bool> stop = false;
  std::exception_ptr raised;
  const auto job = std::make_shared<Job>([&] {
    mx::set_default_device(device);
    work([&] { return stop || ending; });
  });
  started_computer().add(job);
  const WithoutGil released;
  while (!job->wait(std::chrono::milliseconds(50))) {
    if (!raised) raised = raised_by_signal();
    if (raised) stop = true;
  }
  if (raised) std::rethrow_exception(raised);
  if (job->error) std::rethrow_exception(job->error);
}

void bind_runtime(nb::module_& m) {
  m.def("set_threads", &set_threads, "n"_a,
        "Sets the number of threads that compute, for all models of the process; 0: all that the process may use.\n\n"
        ">>> m2bert.set_threads(0)");
  m.def("threads", &threads, "The number of threads that compute.\n\n>>> m2bert.threads() >= 1\nTrue");
  m.def("shares_arrays", [](const mx::array&) {}, "array"_a);
  nb::module_::import_("atexit").attr("register")(nb::cpp_function(&end));
}

}  // namespace m2bert::python
