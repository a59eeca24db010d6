// The innermost loops of GEMMs in float32: a few rows and a panel of outputs, two vectors of them, accumulated in registers. Highway code,
// included once per SIMD target, hence the unusual include guard.
#if defined(M2BERT_OPS_CPU_GEMM_ROWS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef M2BERT_OPS_CPU_GEMM_ROWS_INL_H
#undef M2BERT_OPS_CPU_GEMM_ROWS_INL_H
#else
#define M2BERT_OPS_CPU_GEMM_ROWS_INL_H
#endif

#include <cstddef>
#include <cstdint>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "m2bert/ops/backend/cpu/simd/gemm_simd.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The vectors of a panel, and those of the last panel if fewer outputs are left.
using WideTag = hn::CappedTag<float, 16>;
using NarrowTag = hn::CappedTag<float, 8>;

template <class D>
HWY_INLINE int panel_width(D d) {
  return 2 * int(hn::Lanes(d));
}

// Calls some(d, c) for each panel of outputs [0, n): those from c on, in vectors of d. n: a multiple of the narrow width.
template <class F>
HWY_INLINE void for_panels(int n, const F& some) {
  int c = 0;
  for (const WideTag d; c + panel_width(d) <= n; c += panel_width(d)) some(d, c);
  for (const NarrowTag d; c < n; c += panel_width(d)) some(d, c);
}

// Fetches memory into the second-level cache, the next `step` floats with each call: a steady rate instead of many misses at once.
class FetchAhead {
 public:
  FetchAhead(const float* at, int step) : at_(at), step_(step) {}
  HWY_INLINE void operator()() {
#if HWY_COMPILER_GCC || HWY_COMPILER_CLANG
    __builtin_prefetch(at_, 0, 2);
#else
    hwy::Prefetch(at_);
#endif
    at_ += step_;
  }

 private:
  const float* at_;
  int64_t step_;
};
struct FetchNothing {
  void operator()() {}
};

// y [rows, 2 vectors] = sums + x [rows, depth] panel [depth, 2 vectors]. Strides count floats between rows. sums: null for zeros, may be y.
// fetch is called once for each column of x.
template <int rows, class D, class Fetch = FetchNothing>
HWY_INLINE void multiply_rows(D d, const float* x, int64_t x_stride, int depth, const float* panel, int64_t panel_stride, const float* sums,
                              int64_t sums_stride, float* y, int64_t y_stride, Fetch fetch = {}) {
  using V = hn::Vec<D>;
  const size_t N = hn::Lanes(d);
  V a[rows], b[rows];
  for (int r = 0; r < rows; ++r) {
    a[r] = sums ? hn::LoadU(d, sums + r * sums_stride) : hn::Zero(d);
    b[r] = sums ? hn::LoadU(d, sums + r * sums_stride + N) : hn::Zero(d);
  }
  for (int k = 0; k < depth; ++k, panel += panel_stride) {
    fetch();
    const V w0 = hn::LoadU(d, panel), w1 = hn::LoadU(d, panel + N);
    for (int r = 0; r < rows; ++r) {
      const V value = hn::Set(d, x[r * x_stride + k]);
      a[r] = hn::MulAdd(value, w0, a[r]);
      b[r] = hn::MulAdd(value, w1, b[r]);
    }
  }
  for (int r = 0; r < rows; ++r) {
    hn::StoreU(a[r], d, y + r * y_stride);
    hn::StoreU(b[r], d, y + r * y_stride + N);
  }
}

// Calls some.operator()<count>(r) for `rows` rows, kRowGemmRows at a time as long as there are so many. With the operands, two vectors of
// so many rows take 16 registers.
template <class F>
HWY_INLINE void for_row_groups(int rows, const F& some) {
  static_assert(kRowGemmRows == 6);
  int r = 0;
  for (; r + kRowGemmRows <= rows; r += kRowGemmRows) some.template operator()<kRowGemmRows>(r);
  switch (rows - r) {
    case 1: some.template operator()<1>(r); break;
    case 2: some.template operator()<2>(r); break;
    case 3: some.template operator()<3>(r); break;
    case 4: some.template operator()<4>(r); break;
    case 5: some.template operator()<5>(r); break;
  }
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
