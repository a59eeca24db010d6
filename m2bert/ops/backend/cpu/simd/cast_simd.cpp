#include "m2bert/ops/backend/cpu/simd/cast_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/cast_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::ScalableTag<float>;

template <class From, class To>
void cast_all(const From* x, int64_t n, To* y, int threads) {
  constexpr int64_t kTaskValues = 1 << 14;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t first = 0; first < n; first += kTaskValues) {
    const D d;
    const From* from = x + first;
    To* to = y + first;
    for_each_vector(
        d, n - first < kTaskValues ? n - first : kTaskValues, [&](int64_t i) HWY_ATTR { store(load(d, from + i), d, to + i); },
        [&](int64_t i, int64_t count) HWY_ATTR { store_part(load_part(d, from + i, count), d, to + i, count); });
  }
}

void cast_to_bfloat(const float* x, int64_t n, uint16_t* y, int threads) { cast_all(x, n, y, threads); }
void cast_to_float(const uint16_t* x, int64_t n, float* y, int threads) { cast_all(x, n, y, threads); }

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(cast_to_bfloat);
HWY_EXPORT(cast_to_float);

void cast_values(const float* x, int64_t n, uint16_t* y, int threads) { HWY_DYNAMIC_DISPATCH(cast_to_bfloat)(x, n, y, threads); }
void cast_values(const uint16_t* x, int64_t n, float* y, int threads) { HWY_DYNAMIC_DISPATCH(cast_to_float)(x, n, y, threads); }

}  // namespace m2bert::ops::cpu
#endif
