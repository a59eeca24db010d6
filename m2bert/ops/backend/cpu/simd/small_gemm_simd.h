// Products of many short rows with a small matrix, one vector of outputs at a time. Included once a SIMD target: no include guard of the
// usual kind.
#if defined(M2BERT_OPS_KERNELS_ROW_PRODUCTS_SIMD_H) == defined(HWY_TARGET_TOGGLE)
#ifdef M2BERT_OPS_KERNELS_ROW_PRODUCTS_SIMD_H
#undef M2BERT_OPS_KERNELS_ROW_PRODUCTS_SIMD_H
#else
#define M2BERT_OPS_KERNELS_ROW_PRODUCTS_SIMD_H
#endif

#include <cstddef>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// weight_t[j][lane] = weight[first + lane][j] for a vector's lanes; lanes behind the last row of weight [out, in] get 0.
template <class D>
HWY_INLINE void transpose_rows(D d, const float* weight, int out, int in, int first, float* weight_t) {
  const int N = int(hn::Lanes(d));
  for (int j = 0; j < in; ++j) {
    for (int lane = 0; lane < N; ++lane)
      weight_t[j * N + lane] = first + lane < out ? weight[size_t(first + lane) * size_t(in) + size_t(j)] : 0;
  }
}

// put(r, sum) with sum = x[r] weight_t for every row of x [rows, in].
template <class D, class Put>
HWY_INLINE void row_products(D d, const float* x, int rows, int in, const float* weight_t, const Put& put) {
  const size_t N = hn::Lanes(d);
  constexpr int kRows = 8;   // sums that the processor adds to at the same time
  constexpr int kLine = 16;  // floats of a cache line
  int r = 0;
  for (; r + kRows <= rows; r += kRows) {
    hn::Vec<D> sum[kRows];
    for (auto& s : sum) s = hn::Zero(d);
    const float* row = x + size_t(r) * size_t(in);
    const float* ahead = row + 2 * kRows * size_t(in);  // x is read once, faster than the processor sees it coming
    for (int j0 = 0; j0 < in; j0 += kLine) {
      for (int i = 0; i < kRows; ++i) hwy::Prefetch(ahead + i * in + j0);
      for (int j = j0, end = j0 + kLine < in ? j0 + kLine : in; j < end; ++j) {
        const auto w = hn::LoadU(d, weight_t + size_t(j) * N);
        for (int i = 0; i < kRows; ++i) sum[i] = hn::MulAdd(w, hn::Set(d, row[i * in + j]), sum[i]);
      }
    }
    for (int i = 0; i < kRows; ++i) put(r + i, sum[i]);
  }
  for (; r < rows; ++r) {
    auto sum = hn::Zero(d);
    for (int j = 0; j < in; ++j)
      sum = hn::MulAdd(hn::LoadU(d, weight_t + size_t(j) * N), hn::Set(d, x[size_t(r) * size_t(in) + size_t(j)]), sum);
    put(r, sum);
  }
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
