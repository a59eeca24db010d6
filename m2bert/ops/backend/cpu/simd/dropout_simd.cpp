#include "m2bert/ops/backend/cpu/simd/dropout_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/dropout_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <algorithm>

#include "m2bert/ops/backend/cpu/simd/hash_simd.h"
#include "m2bert/ops/backend/cpu/simd/simd.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::ScalableTag<float>;

// 0 where the factor is 0, whatever x is.
template <class V>
HWY_INLINE V dropped(V x, V factor) {
  return hn::IfThenElseZero(hn::Ne(factor, hn::Zero(D())), hn::Mul(x, factor));
}

template <class T>
void drop_line(const T* x, int count, const HashedFactor<D>& factor, T* y) {
  const D d;
  const int N = int(hn::Lanes(d));
  int j = 0;
  for (; j + N <= count; j += N) store(dropped(load(d, x + j), factor(d, j)), d, y + j);
  if (j == count) return;
  T part[hn::MaxLanes(D())] = {};
  std::copy_n(x + j, count - j, part);
  store(dropped(load(d, part), factor(d, j)), d, part);
  std::copy_n(part, count - j, y + j);
}

template <class T>
void drop(const T* x, int64_t n, const uint32_t key[2], uint32_t threshold, float scale, T* y, int threads) {
  const int64_t lines = (n + kDropoutLine - 1) / kDropoutLine;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t line = 0; line < lines; ++line) {
    const HashedFactor<D> factor(hash_mix(key[0] + uint32_t(line)), hash_mix(key[1] + uint32_t(line)), threshold, scale);
    const int64_t first = line * kDropoutLine;
    drop_line(x + first, int(std::min<int64_t>(kDropoutLine, n - first)), factor, y + first);
  }
}

void drop_float(const float* x, int64_t n, const uint32_t key[2], uint32_t threshold, float scale, float* y, int threads) {
  drop(x, n, key, threshold, scale, y, threads);
}
void drop_bfloat(const uint16_t* x, int64_t n, const uint32_t key[2], uint32_t threshold, float scale, uint16_t* y, int threads) {
  drop(x, n, key, threshold, scale, y, threads);
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(drop_float);
HWY_EXPORT(drop_bfloat);

template <>
void dropout_values(const float* x, int64_t n, const uint32_t key[2], uint32_t threshold, float scale, float* y, int threads) {
  HWY_DYNAMIC_DISPATCH(drop_float)(x, n, key, threshold, scale, y, threads);
}
template <>
void dropout_values(const uint16_t* x, int64_t n, const uint32_t key[2], uint32_t threshold, float scale, uint16_t* y, int threads) {
  HWY_DYNAMIC_DISPATCH(drop_bfloat)(x, n, key, threshold, scale, y, threads);
}

}  // namespace m2bert::ops::cpu
#endif
