#include "m2bert/memory.h"

#include <algorithm>
#include <cstdlib>  // __GLIBC__
#include <fstream>
#include <limits>
#include <string>

#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace m2bert {

namespace {

// The number in a file of the control groups; none: "max", or no such file.
size_t cgroup_limit(const char* file) {
  size_t bytes = 0;
  return std::ifstream(file) >> bytes ? bytes : std::numeric_limits<size_t>::max();
}

}  // namespace

void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int large = 1 << 30;
  mallopt(M_ARENA_MAX, 1);  // the others' heaps end at 64 MiB
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, large);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

size_t physical_memory() {
  const size_t machine = size_t(sysconf(_SC_PHYS_PAGES)) * size_t(sysconf(_SC_PAGESIZE));
  return std::min({machine, cgroup_limit("/sys/fs/cgroup/memory.max"), cgroup_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes")});
}

}  // namespace m2bert
