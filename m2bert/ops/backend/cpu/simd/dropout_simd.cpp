#include "m2bert/ops/backend/cpu/simd/dropout_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/dropout_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <algorithm>

#include "m2bert/ops/backend/cpu/simd/dropout_inl.h"
#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::ScalableTag<float>;

template <class T>
void drop_line(const T* x, int count, const DropoutFactor<D>& factor, T* y) {
  const D d;
  for_each_vector(
      d, count, [&](int64_t j) { store(apply_dropout(d, load(d, x + j), factor(d, int(j))), d, y + j); },
      [&](int64_t j, int64_t n) { store_part(apply_dropout(d, load_part(d, x + j, n), factor(d, int(j))), d, y + j, n); });
}

template <class T>
void drop(const T* x, int64_t n, const uint32_t key[2], uint32_t threshold, float scale, T* y, int threads) {
  const int64_t lines = (n + kDropoutLine - 1) / kDropoutLine;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t line = 0; line < lines; ++line) {
    const DropoutFactor<D> factor(hash_mix(key[0] + uint32_t(line)), hash_mix(key[1] + uint32_t(line)), threshold, scale);
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
