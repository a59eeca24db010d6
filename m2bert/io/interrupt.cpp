#include "m2bert/io/interrupt.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/io/host_interrupt.h"
#include "m2bert/io/temporaries.h"

namespace m2bert::io {
namespace {

namespace fs = std::filesystem;

constexpr size_t kSlots = 64, kPath = 1024;
constexpr const char* kEnding = ".part-";

// Fixed memory: a signal handler may neither allocate nor lock.
struct Slot {
  std::atomic<bool> used{false};
  char path[kPath] = {};
};
std::array<Slot, kSlots> slots;
std::mutex slots_mutex;

std::atomic<int> signal_number{0};
std::atomic<time_t> first_second{0};

// timeout(1) and shells send a signal to the process and again to its group: signals within about a second count as one.
constexpr time_t kSameSignal = 1;  // seconds

time_t seconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

void handle(int signal) {
  int none = 0;
  if (signal_number.compare_exchange_strong(none, signal)) {
    first_second = seconds();
    return;
  }
  if (signal != SIGINT && seconds() - first_second <= kSameSignal) return;
  remove_temporaries();
  _exit(128 + signal);
}

// Those in the folder whose name is chosen, as far as that is possible.
template <typename Chosen>
void remove_files(const fs::path& folder, Chosen chosen) {
  std::error_code none;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    if (chosen(entry.path().filename().string())) found.push_back(entry.path());
  }
  for (const auto& file : found) fs::remove(file, none);
}

}  // namespace

void remember_temporary(const std::string& file) {
  std::lock_guard lock(slots_mutex);
  if (file.size() >= kPath) return;
  for (Slot& slot : slots) {
    if (slot.used) continue;
    std::memcpy(slot.path, file.c_str(), file.size() + 1);
    slot.used = true;
    return;
  }
}

std::string temporary_ending() {
  char text[32];
  std::snprintf(text, sizeof text, "%s%08x", kEnding, unsigned(std::random_device()()));
  return text;
}

void remove_abandoned(const fs::path& file) {
  const std::string beginning = file.filename().string() + kEnding;
  remove_files(file.has_parent_path() ? file.parent_path() : ".", [&](const std::string& name) {
    return name.starts_with(beginning) && name.size() == beginning.size() + 8 &&
           name.find_first_not_of("0123456789abcdef", beginning.size()) == std::string::npos;
  });
}

void remove_abandoned_in(const fs::path& folder) {
  remove_files(folder, [](const std::string& name) { return name.find(kEnding) != std::string::npos; });
}

void forget_temporary(const std::string& file) {
  std::lock_guard lock(slots_mutex);
  for (Slot& slot : slots) {
    if (slot.used && file == slot.path) slot.used = false;
  }
}

void remove_temporaries() noexcept {
  for (Slot& slot : slots) {
    if (slot.used) ::unlink(slot.path);
  }
  for (int depth = 0; depth < 3; ++depth) {  // folders, once they are empty
    for (Slot& slot : slots) {
      if (slot.used) ::rmdir(slot.path);
    }
  }
}

bool is_ignored(int signal) {
  struct sigaction now{};
  return sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

void install_interrupt_handlers() {
  struct sigaction action{};
  action.sa_handler = handle;
  sigemptyset(&action.sa_mask);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    if (signal == SIGHUP && is_ignored(signal)) continue;
    require(sigaction(signal, &action, nullptr) == 0, "cannot install a handler for signal ", signal);
  }
}

bool interrupted() { return signal_number.load(std::memory_order_relaxed) != 0; }

int interrupt_signal() { return signal_number; }

void interrupt(int signal) {
  int none = 0;
  signal_number.compare_exchange_strong(none, signal);
}

void clear_interrupt() { signal_number = 0; }

void throw_if_interrupted() {
  if (interrupted()) fail("stopped by ", interrupt_signal() == SIGINT ? "Ctrl-C" : "a signal");
}

}  // namespace m2bert::io
