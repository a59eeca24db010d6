#include "m2bert/memory.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <map>
#include <mutex>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace m2bert {

namespace {

// The number in a cgroup file; nullopt for "max" or if there is no such file.
size_t cgroup_limit(const char* file) {
  size_t bytes = 0;
  return std::ifstream(file) >> bytes ? bytes : std::numeric_limits<size_t>::max();
}

struct FileMemory {
  std::mutex mutex;
  std::map<const char*, size_t> ranges;  // begin, bytes
};

FileMemory& file_memory() {
  static auto* all = new FileMemory;  // never freed: it must outlive every array
  return *all;
}

}  // namespace

void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int large = 1 << 30;
  mallopt(M_ARENA_MAX, 1);  // the heaps of other arenas end at 64 MiB
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, large);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

void keep_freed_buffers() {
#ifdef __GLIBC__
  for (const char* name : {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES"}) {
    if (std::getenv(name)) return;
  }
  // As far as glibc raises them itself. With less than the 64 MiB that a thread's heap has, an empty heap would be returned.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
#endif
}

size_t physical_memory() {
  const size_t machine = size_t(sysconf(_SC_PHYS_PAGES)) * size_t(sysconf(_SC_PAGESIZE));
  return std::min({machine, cgroup_limit("/sys/fs/cgroup/memory.max"), cgroup_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes")});
}

void add_file_memory(const void* at, size_t bytes) {
  const std::lock_guard lock(file_memory().mutex);
  file_memory().ranges[static_cast<const char*>(at)] = bytes;
}

void remove_file_memory(const void* at) {
  const std::lock_guard lock(file_memory().mutex);
  file_memory().ranges.erase(static_cast<const char*>(at));
}

void release_file_memory(const void* at, size_t bytes) {
  const auto* begin = static_cast<const char*>(at);
  const std::lock_guard lock(file_memory().mutex);
  auto range = file_memory().ranges.upper_bound(begin);
  if (range == file_memory().ranges.begin()) return;
  --range;
  if (begin + bytes > range->first + range->second) return;
  const auto page = size_t(sysconf(_SC_PAGESIZE));
  const size_t first = (size_t(begin - range->first) + page - 1) / page * page, end = size_t(begin - range->first + bytes) / page * page;
  if (first < end) (void)madvise(const_cast<char*>(range->first) + first, end - first, MADV_DONTNEED);
}

}  // namespace m2bert
