#include "m2bert/ops/profile.h"

#include <algorithm>
#include <array>

#include "m2bert/ops/backend/cpu/simd/profile_scope.h"

namespace m2bert::ops {

namespace {

constexpr size_t kStages = size_t(cpu::ProfileStage::count);
constexpr const char* kNames[] = {"in_linear", "out_linear", "mlp.up", "mlp.down", "linear",    "mixing",
                                  "filters",   "activation", "norm",   "quantize", "attention", "embeddings"};
static_assert(std::size(kNames) == kStages);

std::array<cpu::ProfileCounter, kStages> counters;

}  // namespace

cpu::ProfileCounter& cpu::profile_counter(ProfileStage kind) { return counters[size_t(kind)]; }

void set_profiling(bool on) {
  if (on) {
    for (auto& c : counters) c.nanoseconds = c.flops = c.bytes = c.calls = 0;
  }
  cpu::profiling = on;
}

std::vector<StageTime> profiled_stages() {
  std::vector<StageTime> all;
  for (size_t i = 0; i < kStages; ++i) {
    const auto& c = counters[i];
    if (c.calls > 0) all.push_back({kNames[i], double(c.nanoseconds) * 1e-9, double(c.flops), double(c.bytes), c.calls});
  }
  std::ranges::sort(all, [](const StageTime& a, const StageTime& b) { return a.seconds > b.seconds; });
  return all;
}

}  // namespace m2bert::ops
