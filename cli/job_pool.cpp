#include "cli/job_pool.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>

#include "cli/child_process.h"
#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"

namespace m2bert::cli {
namespace {

using Clock = std::chrono::steady_clock;

// Closes descriptors.
struct Closing {
  std::array<int, 2> descriptors;
  ~Closing() {
    for (const int descriptor : descriptors) ::close(descriptor);
  }
};

pid_t start(const PoolJob& job, const std::string& gpu) {
  const int log = ::open(job.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  require(log >= 0, job.log.string(), ": cannot write: ", std::strerror(errno));
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ChildOptions child{{}, nothing, log, log, SIGKILL};
  if (!gpu.empty()) child.environment.emplace_back("CUDA_VISIBLE_DEVICES", gpu);
  const Closing closing{{log, nothing}};
  return start_child(job.arguments, child, BlockedSignals());
}

class Pool {
 public:
  Pool(const std::vector<PoolJob>& jobs, const PoolOptions& options, const PoolEvents& events)
      : jobs_(jobs),
        options_(options),
        events_(events),
        codes_(jobs.size()),
        states_(jobs.size(), State::waiting),
        workers_(size_t(options.workers)) {}

  std::vector<std::optional<int>> run() {
    try {
      while (start_jobs() || busy()) {
        pass_signal_on();
        collect();
        report();
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
    } catch (...) {
      end_all();
      throw;
    }
    return codes_;
  }

 private:
  enum class State { waiting, running, done, skipped };
  struct Worker {
    pid_t pid = 0;
    size_t job = 0;
    Clock::time_point reported;
  };

  bool busy() const {
    for (const Worker& worker : workers_)
      if (worker.pid > 0) return true;
    return false;
  }

  // Whether there are jobs that may still run.
  bool start_jobs() {
    if (io::interrupted()) return false;
    bool left = false;
    for (size_t job = 0; job < jobs_.size(); ++job) {
      if (states_[job] != State::waiting) continue;
      const auto after = jobs_[job].after;
      if (after && (states_[*after] == State::skipped || (states_[*after] == State::done && codes_[*after] != 0))) {
        states_[job] = State::skipped;
        continue;
      }
      left = true;
      if (!after || states_[*after] == State::done) start_one(job);
    }
    return left;
  }

  void start_one(size_t job) {
    for (size_t i = 0; i < workers_.size(); ++i) {
      if (workers_[i].pid > 0) continue;
      workers_[i] = {start(jobs_[job], options_.gpus.empty() ? "" : options_.gpus[i % options_.gpus.size()]), job, Clock::now()};
      states_[job] = State::running;
      events_.started(job);
      return;
    }
  }

  void collect() {
    for (Worker& worker : workers_) {
      int status = 0;
      if (worker.pid == 0 || ::waitpid(worker.pid, &status, WNOHANG) != worker.pid) continue;
      worker.pid = 0;
      states_[worker.job] = State::done;
      codes_[worker.job] = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      events_.ended(worker.job, *codes_[worker.job]);
    }
  }

  void pass_signal_on() {
    if (!io::interrupted() || std::exchange(passed_, true)) return;
    for (const Worker& worker : workers_)
      if (worker.pid > 0) ::kill(worker.pid, SIGTERM);
  }

  void report() {
    for (Worker& worker : workers_) {
      if (worker.pid == 0 || Clock::now() - worker.reported < std::chrono::duration<double>(options_.report_every)) continue;
      worker.reported = Clock::now();
      events_.running(worker.job, last_line(jobs_[worker.job].log));
    }
  }

  void end_all() {
    for (const Worker& worker : workers_) {
      if (worker.pid == 0) continue;
      ::kill(worker.pid, SIGKILL);
      ::waitpid(worker.pid, nullptr, 0);
    }
  }

  const std::vector<PoolJob>& jobs_;
  PoolOptions options_;
  const PoolEvents& events_;
  std::vector<std::optional<int>> codes_;
  std::vector<State> states_;
  std::vector<Worker> workers_;
  bool passed_ = false;
};

// The lines at the end of a file that have visible characters.
std::vector<std::string> last_lines(const std::filesystem::path& file) {
  constexpr std::streamoff kEnd = 1 << 14;
  std::vector<std::string> lines;
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  if (!in) return lines;
  in.seekg(std::max<std::streamoff>(0, std::streamoff(in.tellg()) - kEnd));
  for (std::string line; std::getline(in, line);)
    if (line.find_first_not_of(" \t\r") != std::string::npos) lines.push_back(line);
  return lines;
}

}  // namespace

std::vector<std::optional<int>> run_pool(const std::vector<PoolJob>& jobs, const PoolOptions& options, const PoolEvents& events) {
  return Pool(jobs, options, events).run();
}

std::string last_line(const std::filesystem::path& file) {
  std::string last;
  for (const std::string& line : last_lines(file)) last = line;
  return last;
}

std::string last_error(const std::filesystem::path& file) {
  const std::string mark = "error: ";
  std::string last;
  for (const std::string& line : last_lines(file))
    if (line.starts_with(mark)) last = line.substr(mark.size());
  return last.empty() ? last_line(file) : last;
}

}  // namespace m2bert::cli
