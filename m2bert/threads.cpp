#include "m2bert/threads.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

#include "m2bert/error.h"

namespace m2bert {
namespace {

constexpr int kMost = 4096;

std::atomic<int> chosen{0};
std::atomic<int> remembered{0};  // the default, once it was asked for

// A container's share of the CPUs, rounded up; 0 if unlimited or unknown.
int cgroup_cpus() {
  double quota = -1, period = -1;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2) {
    std::string text;
    v2 >> text >> period;
    if (text == "max" || text.empty()) return 0;
    quota = std::atof(text.c_str());
  } else {
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>(std::ceil(quota / period))) : 0;
}

}  // namespace

int available_cpus() {
  int count = static_cast<int>(std::thread::hardware_concurrency());
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
#endif
  if (const int limit = cgroup_cpus(); limit > 0) count = std::min(count, limit);
  return std::max(1, count);
}

void set_threads(int n) {
  require(n >= 0 && n <= kMost, "threads: wants 0 (all) to ", kMost, ", got ", n);
  const int count = n == 0 ? default_threads() : n;
  chosen = count;
#ifdef _OPENMP
  omp_set_dynamic(0);
  omp_set_num_threads(count);
#endif
}

int threads() {
  if (const int count = chosen; count != 0) return count;
  if (const int count = remembered; count != 0) return count;
  // A forked process may have other processors.
  [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, [] { remembered = 0; });
  const int all = default_threads();  // takes a while, and every kernel asks
  remembered = all;
  return all;
}

int default_threads() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (text == nullptr) return available_cpus();
  text += std::strspn(text, " ");
  int count = 0;
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), count);
  const bool whole = *end == '\0' || *end == ',' || *end == ' ';
  return error == std::errc() && whole && count >= 1 ? std::min(count, kMost) : available_cpus();
}

}  // namespace m2bert
