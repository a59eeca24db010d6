#include "m2bert/ops/backend/cpu/simd/gemm_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/gemm_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <algorithm>

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 8>;
using V = hn::Vec<D>;

constexpr int kRows = 6;     // two vectors of each are accumulated at the same time: with the operands, 16 registers
constexpr int kDepth = 256;  // columns of x at a time: those of kRows rows and of a panel stay in the first-level cache

// The outputs of a panel: two vectors.
int panel_width() { return 2 * int(hn::Lanes(D())); }

// Outputs [0, panel width) of `rows` rows: adds the products of `depth` columns to `sums`, which are one row, or the rows of y.
template <int rows>
HWY_INLINE void multiply_rows(const float* x, int p, int depth, const float* panel, const float* sums, int sums_stride, float* y, int q) {
  const D d;
  const size_t N = hn::Lanes(d);
  V a[rows], b[rows];
  for (int r = 0; r < rows; ++r) {
    a[r] = sums ? hn::LoadU(d, sums + r * sums_stride) : hn::Zero(d);
    b[r] = sums ? hn::LoadU(d, sums + r * sums_stride + N) : hn::Zero(d);
  }
  for (int k = 0; k < depth; ++k, panel += 2 * N) {
    const V w0 = hn::LoadU(d, panel), w1 = hn::LoadU(d, panel + N);
    for (int r = 0; r < rows; ++r) {
      const V value = hn::Set(d, x[r * p + k]);
      a[r] = hn::MulAdd(value, w0, a[r]);
      b[r] = hn::MulAdd(value, w1, b[r]);
    }
  }
  for (int r = 0; r < rows; ++r) {
    hn::StoreU(a[r], d, y + r * q);
    hn::StoreU(b[r], d, y + r * q + N);
  }
}

void multiply(const float* x, int rows, int p, const float* packed, const float* bias, int q, float* y) {
  const int width = panel_width();
  for (int k = 0; k < p; k += kDepth) {
    const int depth = std::min(kDepth, p - k);
    for (int c = 0; c < q; c += width, packed += depth * width) {
      auto some = [&]<int count>(int r) HWY_ATTR {
        float* to = y + r * q + c;
        const float* sums = k > 0 ? to : bias ? bias + c : nullptr;
        multiply_rows<count>(x + r * p + k, p, depth, packed, sums, k > 0 ? q : 0, to, q);
      };
      int r = 0;
      for (; r + kRows <= rows; r += kRows) some.template operator()<kRows>(r);
      switch (rows - r) {
        case 1: some.template operator()<1>(r); break;
        case 2: some.template operator()<2>(r); break;
        case 3: some.template operator()<3>(r); break;
        case 4: some.template operator()<4>(r); break;
        case 5: some.template operator()<5>(r); break;
      }
    }
  }
}

void pack(const float* weight, int q, int p, float* packed) {
  const int width = panel_width();
  for (int k0 = 0; k0 < p; k0 += kDepth) {
    for (int c = 0; c < q; c += width) {
      for (int k = k0; k < std::min(p, k0 + kDepth); ++k) {
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
void row_gemm(const float* x, int rows, int p, const float* packed, const float* bias, int q, float* y) {
  HWY_DYNAMIC_DISPATCH(multiply)(x, rows, p, packed, bias, q, y);
}

}  // namespace m2bert::ops::cpu
#endif
