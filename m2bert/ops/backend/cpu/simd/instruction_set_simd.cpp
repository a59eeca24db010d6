// Chooses the instruction set of the Highway loops. oneDNN's limit (ONEDNN_MAX_CPU_ISA) applies to them too, so that one variable imitates
// a smaller CPU.
#include "m2bert/ops/backend/cpu/simd/instruction_set_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/instruction_set_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

const char* name_of_target() {
#if HWY_ARCH_X86
  if (HWY_TARGET < HWY_AVX2) return "avx512";
  return HWY_TARGET == HWY_AVX2 ? "avx2" : "portable";
#elif HWY_ARCH_ARM
  return HWY_TARGET == HWY_NEON ? "neon" : "sve";
#else
  return "portable";
#endif
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <dnnl.hpp>

namespace m2bert::ops::cpu {

HWY_EXPORT(name_of_target);

namespace {

// Initialized at the start of the process, before any loop runs.
[[maybe_unused]] const bool limited = [] {
#if HWY_ARCH_X86
  const auto allowed = unsigned(dnnl::get_effective_cpu_isa());
  const auto lacks = [allowed](dnnl::cpu_isa wanted) { return (allowed & unsigned(wanted)) != unsigned(wanted); };
  if (allowed == 0) return false;  // no limit: cpu_isa::all in oneDNN 2, cpu_isa::isa_default in oneDNN 3
  int64_t disabled = 0;
  if (lacks(dnnl::cpu_isa::avx512_core)) disabled |= HWY_AVX3 | HWY_AVX3_DL;
  if (lacks(dnnl::cpu_isa::avx2)) disabled |= HWY_AVX2;
  if (disabled != 0) hwy::DisableTargets(disabled);
  return disabled != 0;
#else
  return false;
#endif
}();

}  // namespace

const char* instruction_set() { return HWY_DYNAMIC_DISPATCH(name_of_target)(); }

}  // namespace m2bert::ops::cpu
#endif
