#include "m2bert/train/microbatch_size.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>

#include "m2bert/mx.h"

namespace m2bert::train {

namespace {

// A field of a file in /proc that counts kilobytes, in bytes; 0 if it is missing.
uint64_t kilobytes_in(const char* file, const std::string& wanted) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(wanted + ":")) return std::strtoull(line.c_str() + wanted.size() + 1, nullptr, 10) * 1024;
  }
  return 0;
}

uint64_t status_bytes(const char* name) { return kilobytes_in("/proc/self/status", name); }

// Resets VmHWM; false if the system cannot.
bool reset_peak_resident() {
  std::ofstream out("/proc/self/clear_refs");
  out << "5" << std::flush;
  return out.good() && status_bytes("VmHWM") > 0;
}

uint64_t number_in(const char* file) {
  std::ifstream in(file);
  uint64_t number = 0;
  return in >> number ? number : 0;  // 0 for "max"
}

// What the limit of the cgroup (version 2 or 1) leaves; 0: no limit.
uint64_t free_in_cgroup() {
  for (const auto& [limit, used] :
       {std::pair{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        std::pair{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"}}) {
    const uint64_t most = number_in(limit), now = number_in(used);
    if (most > 0 && most < uint64_t{1} << 60) return most > now ? most - now : 1;
  }
  return 0;
}

uint64_t free_on_gpu() {
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
  if (mx::default_device() == mx::Device(mx::Device::gpu)) return free_on_gpu();
  const uint64_t system = kilobytes_in("/proc/meminfo", "MemAvailable"), group = free_in_cgroup();
  return group > 0 && (system == 0 || group < system) ? group : system;
}

double memory_of_row(const std::function<uint64_t(int rows)>& peak, int most) {
  int rows = 1;
  auto now = double(peak(1));
  for (bool seen = false; rows < most && !seen;) {
    const double before = now;
    rows = std::min(2 * rows, most);
    now = double(peak(rows));
    seen = now > 1.3 * before;
  }
  return std::max(now / rows, 1.0);
}

uint64_t peak_memory_of(const std::function<void()>& work) {
  const size_t arrays_before = mx::get_active_memory();
  mx::reset_peak_memory();
  const bool has_peak = reset_peak_resident();
  const uint64_t resident_before = status_bytes("VmRSS");
  work();
  const size_t arrays = mx::get_peak_memory() - std::min(arrays_before, mx::get_peak_memory());
  const uint64_t resident = has_peak ? status_bytes("VmHWM") - std::min(resident_before, status_bytes("VmHWM")) : 0;
  return std::max<uint64_t>(arrays, resident);
}

int rows_that_fit(double memory_of_row, uint64_t free, int most) {
  const double fit = 0.8 * double(free) / memory_of_row;
  if (fit >= most) return most;
  int rows = 1;
  while (2 * rows < most && 2 * rows <= fit) rows *= 2;
  return rows;
}

}  // namespace m2bert::train
