#pragma once
// Jobs that are processes of this program, several at a time.
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace m2bert::cli {

struct PoolJob {
  std::string name;
  std::vector<std::string> arguments;  // of this program
  std::filesystem::path log;           // what it prints is appended here
  std::optional<size_t> after;         // the job that must have succeeded before
};

struct PoolOptions {
  int workers = 1;                // jobs at a time
  std::vector<std::string> gpus;  // a worker has one of these (visible_gpus); empty: all that this program has
  double report_every = 10;       // seconds between two calls of `running` for a job
};

struct PoolEvents {
  std::function<void(size_t job)> started = [](size_t) {};
  // last_line: of its log.
  std::function<void(size_t job, const std::string& last_line)> running = [](size_t, const std::string&) {};
  std::function<void(size_t job, int code)> ended = [](size_t, int) {};
};

// Runs the jobs in order and returns their exit codes (128 + signal for one that a signal ended); nullopt for jobs that did not run,
// because one that they wait for failed, or because a signal (io/interrupt.h) stopped this program. The signal is passed on to running
// jobs, which are waited for. If this program is killed, its jobs are killed too.
std::vector<std::optional<int>> run_pool(const std::vector<PoolJob>& jobs, const PoolOptions& options, const PoolEvents& events);

// The last line of a file that has visible characters; empty if there is none.
std::string last_line(const std::filesystem::path& file);
// What follows "error: " in the last line that begins so; the last line if none does.
std::string last_error(const std::filesystem::path& file);

}  // namespace m2bert::cli
