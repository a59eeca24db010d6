// GEMM of many short rows with a small matrix, one vector of outputs (a panel) at a time. Highway code, included once per SIMD target,
// hence the unusual include guard.
#if defined(M2BERT_OPS_CPU_GEMM_PANEL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef M2BERT_OPS_CPU_GEMM_PANEL_INL_H
#undef M2BERT_OPS_CPU_GEMM_PANEL_INL_H
#else
#define M2BERT_OPS_CPU_GEMM_PANEL_INL_H
#endif

#include <cstddef>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Packs the outputs from `first` on, as many as a vector has lanes: panel[j][lane] = weight[first + lane][j]. weight [out, in]; lanes past
// the last output get 0.
template <class D>
HWY_INLINE void pack_panel(D d, const float* weight, int out, int in, int first, float* panel) {
  const int N = int(hn::Lanes(d));
  for (int j = 0; j < in; ++j) {
    for (int lane = 0; lane < N; ++lane)
      panel[j * N + lane] = first + lane < out ? weight[size_t(first + lane) * size_t(in) + size_t(j)] : 0;
  }
}

// Calls put(r, sum) with sum = x[r] panel for each row of x [rows, in]; panel [in, lanes].
template <class D, class Put>
HWY_INLINE void gemm_panel(D d, const float* x, int rows, int in, const float* panel, const Put& put) {
  const size_t N = hn::Lanes(d);
  constexpr int kRows = 8;   // rows accumulated at the same time, to hide the latency of the additions
  constexpr int kLine = 16;  // floats in a cache line
  int r = 0;
  for (; r + kRows <= rows; r += kRows) {
    hn::Vec<D> sum[kRows];
    for (auto& s : sum) s = hn::Zero(d);
    const float* row = x + size_t(r) * size_t(in);
    const float* ahead = row + 2 * kRows * size_t(in);  // x is read once, faster than the hardware prefetches it
    for (int j0 = 0; j0 < in; j0 += kLine) {
      for (int i = 0; i < kRows; ++i) hwy::Prefetch(ahead + i * in + j0);
      for (int j = j0, end = j0 + kLine < in ? j0 + kLine : in; j < end; ++j) {
        const auto w = hn::LoadU(d, panel + size_t(j) * N);
        for (int i = 0; i < kRows; ++i) sum[i] = hn::MulAdd(w, hn::Set(d, row[i * in + j]), sum[i]);
      }
    }
    for (int i = 0; i < kRows; ++i) put(r + i, sum[i]);
  }
  for (; r < rows; ++r) {
    auto sum = hn::Zero(d);
    for (int j = 0; j < in; ++j)
      sum = hn::MulAdd(hn::LoadU(d, panel + size_t(j) * N), hn::Set(d, x[size_t(r) * size_t(in) + size_t(j)]), sum);
    put(r, sum);
  }
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
