#pragma once
// Times parts of the kernels while profiling is on (m2bert/ops/profile.h). Thread-safe; costs one load of a flag while it is off.
#include <atomic>
#include <chrono>
#include <cstdint>

namespace m2bert::ops::cpu {

enum class ProfileStage {
  in_linear,  // matmuls, by their layer
  out_linear,
  mlp_up,
  mlp_down,
  linear,
  mixing,   // short convolution, gates, long convolutions
  filters,  // filters of the long convolutions, and their spectra
  activation,
  norm,
  quantize,  // to int8 and back
  attention,
  embeddings,
  count
};

// The totals of a stage over all threads.
struct ProfileCounter {
  std::atomic<int64_t> nanoseconds{0}, flops{0}, bytes{0}, calls{0};
};

inline std::atomic<bool> profiling{false};
ProfileCounter& profile_counter(ProfileStage stage);

// Adds the time from its construction to its destruction to a stage, with the arithmetic operations and bytes of memory traffic given.
class ProfileScope {
 public:
  explicit ProfileScope(ProfileStage stage, int64_t flops = 0, int64_t bytes = 0) : on_(profiling.load(std::memory_order_relaxed)) {
    if (!on_) return;
    stage_ = stage;
    flops_ = flops;
    bytes_ = bytes;
    start_ = now();
  }
  ~ProfileScope() {
    if (!on_) return;
    ProfileCounter& c = profile_counter(stage_);
    c.nanoseconds += now() - start_;
    c.flops += flops_;
    c.bytes += bytes_;
    ++c.calls;
  }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  static int64_t now() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  bool on_;
  ProfileStage stage_{};
  int64_t flops_ = 0, bytes_ = 0, start_ = 0;
};

}  // namespace m2bert::ops::cpu
