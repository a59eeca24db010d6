#pragma once
// This program again, as a process of its own.
#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "cli/blocked_signals.h"

namespace m2bert::cli {

struct ChildOptions {
  std::vector<std::pair<std::string, std::string>> environment;  // variables that are set
  int input = -1, output = -1, error = -1;                       // its streams; -1: those of this program
  int signal_if_orphaned = 0;                                    // what it gets if this program is killed (Linux)
};

// Starts it with these arguments, in a process group of its own: Ctrl-C reaches this program alone, which passes it on. SIGINT, SIGTERM and
// SIGHUP have their usual effect there, unless they are ignored. signals: blocks them, so that none is lost while the process starts.
// Error if there can be no more processes.
pid_t start_child(const std::vector<std::string>& arguments, const ChildOptions& options, const BlockedSignals& signals);

// The GPUs that this program may use, as CUDA_VISIBLE_DEVICES names them: those of that variable, else the numbers of all.
std::vector<std::string> visible_gpus();

}  // namespace m2bert::cli
