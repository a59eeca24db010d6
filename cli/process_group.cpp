#include "cli/process_group.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"

namespace m2bert::cli {
namespace {

// Only the first process prints.
void silence() {
  io::set_quiet(true);
  io::set_log_level(io::LogLevel::off);
}

// Removes the launcher's hostfile once every process has read it, so that it does not stay even if the launcher is killed.
void forget_hostfile(const train::Processes& processes) {
  without_message_of_loss([&] { return processes.any(false); });
  const char* hostfile = std::getenv("MLX_HOSTFILE");
  if (processes.first() && hostfile) std::remove(hostfile);
}

}  // namespace

train::Processes join_process_group(double timeout) {
  auto processes = without_message_of_loss([&] { return train::join_processes(timeout); });
  if (!processes.first()) silence();
  if (is_launched()) forget_hostfile(processes);
  return processes;
}

void all_or_none(const train::Processes& processes, const std::function<void()>& body) {
  std::exception_ptr error;
  try {
    body();
  } catch (...) {
    error = std::current_exception();
  }
  std::vector<int64_t> failed(static_cast<size_t>(processes.size()), 0);
  failed[static_cast<size_t>(processes.rank())] = error ? 1 : 0;
  failed = without_message_of_loss([&] { return processes.sum_counts(failed); });
  const auto first = std::ranges::find(failed, 1) - failed.begin();
  if (error && first == processes.rank()) std::rethrow_exception(error);
  if (first < processes.size()) throw QuietExit{is_launched() ? kProcessLost : 1};
}

}  // namespace m2bert::cli
