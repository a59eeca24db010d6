#pragma once
// Times a stage of a kernel while profiling is on (m2bert/ops/profile.h). Host memory only.
#include <atomic>
#include <chrono>
#include <cstdint>

namespace m2bert::ops::cpu {

enum class StageKind {
  in_linear,  // products, by what they are for
  out_linear,
  mlp_up,
  mlp_down,
  linear,
  mixing,   // short convolution, gates, long convolutions
  filters,  // filters of the long convolution, and their spectra
  activation,
  norm,
  quantize,  // to int8 and back
  attention,
  embeddings,
  count
};

struct StageCounter {
  std::atomic<int64_t> nanoseconds{0}, flops{0}, bytes{0}, calls{0};
};

inline std::atomic<bool> profiling{false};
StageCounter& counter(StageKind kind);

// From its making to its end.
class Stage {
 public:
  explicit Stage(StageKind kind, int64_t flops = 0, int64_t bytes = 0) : on_(profiling.load(std::memory_order_relaxed)) {
    if (!on_) return;
    kind_ = kind;
    flops_ = flops;
    bytes_ = bytes;
    start_ = now();
  }
  ~Stage() {
    if (!on_) return;
    StageCounter& c = counter(kind_);
    c.nanoseconds += now() - start_;
    c.flops += flops_;
    c.bytes += bytes_;
    ++c.calls;
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

 private:
  static int64_t now() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  bool on_;
  StageKind kind_{};
  int64_t flops_ = 0, bytes_ = 0, start_ = 0;
};

}  // namespace m2bert::ops::cpu
