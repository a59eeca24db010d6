#pragma once
// Blocks signals while processes start: none may come between fork and exec, where it would be lost.
#include <signal.h>

#include <span>

namespace m2bert::cli {

class BlockedSignals {
 public:
  // All signals, or these.
  BlockedSignals() {
    sigset_t set;
    ::sigfillset(&set);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  explicit BlockedSignals(std::span<const int> signals) {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : signals) ::sigaddset(&set, signal);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  ~BlockedSignals() { unblock(); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  // Also in the new process, before exec.
  void unblock() const { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace m2bert::cli
