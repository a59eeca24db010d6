#include "m2bert/ops/backend/cpu/simd/gemm_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/gemm_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <algorithm>

#include "m2bert/ops/backend/cpu/simd/gemm_rows_inl.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The most weights of a panel at a time: with the columns of x for a group of rows they about fill the first-level cache.
constexpr int kPanelWeights = 6144;

// How many columns ahead of its use a panel is fetched if nothing has fetched it before: the time that memory takes.
constexpr int kFetchDistance = 48;

// Columns of x at a time, so that all parts are about equally deep.
int depth_of(int p) {
  const int most = kPanelWeights / panel_width(WideTag());
  const int parts = (p + most - 1) / most;
  return (p + parts - 1) / parts;
}

void multiply(const float* x, int rows, int p, const float* packed, const float* bias, int q, float* y, int y_stride) {
  const int whole = depth_of(p);
  // The weights come from a slow cache or from memory. While a panel is used, each group of rows fetches its share of the next one.
  const int groups = (rows + kRowGemmRows - 1) / kRowGemmRows;
  for (int k = 0; k < p; k += whole) {
    const int depth = std::min(whole, p - k);
    for_panels(q, [&](auto d, int c) HWY_ATTR {
      const int width = panel_width(d), step = (width + groups - 1) / groups;
      const float* next = packed + depth * width;
      for_row_groups(rows, [&]<int count>(int r) HWY_ATTR {
        float* to = y + r * y_stride + c;
        const float* sums = k > 0 ? to : bias ? bias + c : nullptr;
        const bool first = k == 0 && c == 0 && r == 0;  // nothing has fetched the panel that it reads
        const FetchAhead fetch =
            first ? FetchAhead(packed + kFetchDistance * width, width) : FetchAhead(next + r / kRowGemmRows * depth * step, step);
        multiply_rows<count>(d, x + r * p + k, p, depth, packed, width, sums, k > 0 ? y_stride : 0, to, y_stride, fetch);
      });
      packed = next;
    });
  }
}

void pack(const float* weight, int q, int p, float* packed) {
  const int whole = depth_of(p);
  for (int k0 = 0; k0 < p; k0 += whole) {
    for_panels(q, [&](auto d, int c) {
      for (int k = k0; k < std::min(p, k0 + whole); ++k) {
        for (int i = 0; i < panel_width(d); ++i) *packed++ = weight[size_t(c + i) * size_t(p) + size_t(k)];
      }
    });
  }
}

bool is_used() {
#if HWY_ARCH_X86
  return HWY_TARGET >= HWY_AVX2 || __builtin_cpu_is("amd");
#else
  return false;
#endif
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(multiply);
HWY_EXPORT(pack);
HWY_EXPORT(is_used);

bool has_row_gemm() {
  static const bool used = HWY_DYNAMIC_DISPATCH(is_used)();
  return used;
}
void pack_row_gemm(const float* weight, int q, int p, float* packed) { HWY_DYNAMIC_DISPATCH(pack)(weight, q, p, packed); }
void row_gemm(const float* x, int rows, int p, const float* packed, const float* bias, int q, float* y, int y_stride) {
  HWY_DYNAMIC_DISPATCH(multiply)(x, rows, p, packed, bias, q, y, y_stride);
}

}  // namespace m2bert::ops::cpu
#endif
