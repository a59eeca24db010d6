#include "m2bert/train/microbatch_size.h"

#include <algorithm>
#include <fstream>
#include <string>

#include "m2bert/mx.h"

namespace m2bert::train {

namespace {

// The number behind a name in /proc/meminfo, in bytes.
uint64_t meminfo(const std::string& wanted) {
  std::ifstream in("/proc/meminfo");
  std::string name, unit;
  for (uint64_t kilobytes = 0; in >> name >> kilobytes && std::getline(in, unit);) {
    if (name == wanted + ":") return kilobytes * 1024;
  }
  return 0;
}

uint64_t number_in(const char* file) {
  std::ifstream in(file);
  uint64_t number = 0;
  return in >> number ? number : 0;  // "max" is no number
}

// What a control group of version 2 or 1 leaves; 0: no limit.
uint64_t left_by_control_group() {
  for (const auto& [limit, used] :
       {std::pair{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        std::pair{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"}}) {
    const uint64_t most = number_in(limit), now = number_in(used);
    if (most > 0 && most < uint64_t{1} << 60) return most > now ? most - now : 1;
  }
  return 0;
}

uint64_t left_on_gpu() {
  const auto& info = mx::device_info(mx::default_device());
  auto bytes = [&](const char* key) {
    const auto it = info.find(key);
    const auto* value = it == info.end() ? nullptr : std::get_if<size_t>(&it->second);
    return value ? *value : size_t{0};
  };
  if (const size_t left = bytes("free_memory")) return left;
  const size_t whole = std::max(bytes("max_recommended_working_set_size"), std::max(bytes("total_memory"), bytes("memory_size")));
  return whole > mx::get_active_memory() ? whole - mx::get_active_memory() : whole;
}

}  // namespace

uint64_t free_memory() {
  if (mx::default_device() == mx::Device(mx::Device::gpu)) return left_on_gpu();
  const uint64_t system = meminfo("MemAvailable"), group = left_by_control_group();
  return group > 0 && (system == 0 || group < system) ? group : system;
}

MemoryModel measure_memory(const std::function<uint64_t(int rows)>& peak) {
  const auto one = double(peak(1)), four = double(peak(4));
  const double per_row = std::max((four - one) / 3, 1.0);
  return {std::max(one - per_row, 0.0), per_row};
}

int rows_that_fit(const MemoryModel& model, uint64_t free, int most) {
  const double allowed = 0.8 * double(free);
  if (model.of(most) <= allowed) return most;
  int rows = 1;
  while (2 * rows < most && model.of(2 * rows) <= allowed) rows *= 2;
  return rows;
}

}  // namespace m2bert::train
