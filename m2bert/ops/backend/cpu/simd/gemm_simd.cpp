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

using D = hn::CappedTag<float, 8>;

constexpr int kDepth = 384;  // the most columns of x at a time: those of a group of rows and of a panel about fill the first-level cache

// How many columns ahead of its use a panel is fetched if nothing has fetched it before: the time that memory takes.
constexpr int kFetchDistance = 48;

// The outputs of a panel: two vectors.
int panel_width() { return 2 * int(hn::Lanes(D())); }

// Columns of x at a time, so that all parts are about equally deep.
int depth_of(int p) {
  const int parts = (p + kDepth - 1) / kDepth;
  return (p + parts - 1) / parts;
}

void multiply(const float* x, int rows, int p, const float* packed, const float* bias, int q, float* y, int y_stride) {
  const D d;
  const int width = panel_width(), whole = depth_of(p);
  // The weights come from a slow cache or from memory. While a panel is used, each group of rows fetches its share of the next one.
  const int groups = (rows + kRowGemmRows - 1) / kRowGemmRows, step = (width + groups - 1) / groups;
  for (int k = 0; k < p; k += whole) {
    const int depth = std::min(whole, p - k);
    for (int c = 0; c < q; c += width, packed += depth * width) {
      const float* next = packed + depth * width;
      for_row_groups(rows, [&]<int count>(int r) HWY_ATTR {
        float* to = y + r * y_stride + c;
        const float* sums = k > 0 ? to : bias ? bias + c : nullptr;
        const bool first = k == 0 && c == 0 && r == 0;  // nothing has fetched the panel that it reads
        const FetchAhead fetch =
            first ? FetchAhead(packed + kFetchDistance * width, width) : FetchAhead(next + r / kRowGemmRows * depth * step, step);
        multiply_rows<count>(d, x + r * p + k, p, depth, packed, width, sums, k > 0 ? y_stride : 0, to, y_stride, fetch);
      });
    }
  }
}

void pack(const float* weight, int q, int p, float* packed) {
  const int width = panel_width(), whole = depth_of(p);
  for (int k0 = 0; k0 < p; k0 += whole) {
    for (int c = 0; c < q; c += width) {
      for (int k = k0; k < std::min(p, k0 + whole); ++k) {
        for (int i = 0; i < width; ++i) *packed++ = weight[size_t(c + i) * size_t(p) + size_t(k)];
      }
    }
  }
}

bool is_used() { return HWY_ARCH_X86 && HWY_TARGET >= HWY_AVX2; }

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
