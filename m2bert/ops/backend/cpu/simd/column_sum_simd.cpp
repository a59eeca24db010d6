#include "m2bert/ops/backend/cpu/simd/column_sum_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/column_sum_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::ScalableTag<float>;

// Threads share out the columns; a task reads a few vectors of each row.
template <class T>
void column_sums_all(const T* x, int64_t rows, int64_t width, T* y, int threads) {
  const D d;
  const int64_t N = int64_t(hn::Lanes(d)), step = 8 * N;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t first = 0; first < width; first += step) {
    const int64_t count = width - first < step ? width - first : step;
    float sums[8 * hn::MaxLanes(D())] = {};
    for (int64_t r = 0; r < rows; ++r) {
      const T* row = x + r * width + first;
      for_each_vector(
          d, count, [&](int64_t i) { hn::StoreU(hn::Add(hn::LoadU(d, sums + i), load(d, row + i)), d, sums + i); },
          [&](int64_t i, int64_t n) { hn::StoreU(hn::Add(hn::LoadU(d, sums + i), load_part(d, row + i, n)), d, sums + i); });
    }
    for_each_vector(
        d, count, [&](int64_t i) { store(hn::LoadU(d, sums + i), d, y + first + i); },
        [&](int64_t i, int64_t n) { store_part(hn::LoadU(d, sums + i), d, y + first + i, n); });
  }
}

void column_sums_float(const float* x, int64_t rows, int64_t width, float* y, int threads) { column_sums_all(x, rows, width, y, threads); }
void column_sums_bfloat(const uint16_t* x, int64_t rows, int64_t width, uint16_t* y, int threads) {
  column_sums_all(x, rows, width, y, threads);
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(column_sums_float);
HWY_EXPORT(column_sums_bfloat);

template <>
void column_sums(const float* x, int64_t rows, int64_t width, float* y, int threads) {
  HWY_DYNAMIC_DISPATCH(column_sums_float)(x, rows, width, y, threads);
}
template <>
void column_sums(const uint16_t* x, int64_t rows, int64_t width, uint16_t* y, int threads) {
  HWY_DYNAMIC_DISPATCH(column_sums_bfloat)(x, rows, width, y, threads);
}

}  // namespace m2bert::ops::cpu
#endif
