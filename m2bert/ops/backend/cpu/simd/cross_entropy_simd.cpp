#include "m2bert/ops/backend/cpu/simd/cross_entropy_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/cross_entropy_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

inline float value(const float* x) { return *x; }
inline float value(const uint16_t* x) {
  const uint32_t bits = uint32_t(*x) << 16;
  float v;
  hwy::CopySameSize(&bits, &v);
  return v;
}

// Calls f(values, i, lanes) for each vector of a row; lanes past the end of the row are minus infinity.
template <class T, class F>
HWY_INLINE void for_each_padded(const T* x, int64_t n, const F& f) {
  const D d;
  const int64_t N = int64_t(hn::Lanes(d));
  int64_t i = 0;
  for (; i + N <= n; i += N) f(load(d, x + i), i, int(N));
  if (i == n) return;
  T part[hn::MaxLanes(D())] = {};
  std::copy_n(x + i, n - i, part);
  const V fill = hn::Set(d, -std::numeric_limits<float>::infinity());
  f(hn::IfThenElse(hn::FirstN(d, size_t(n - i)), load(d, part), fill), i, int(n - i));
}

template <class T>
float row_log_sum_exp(const T* x, int64_t n) {
  const D d;
  V largest = hn::Set(d, -std::numeric_limits<float>::infinity()), unclean = hn::Zero(d);
  for_each_padded(x, n, [&](V v, int64_t, int) {
    largest = hn::Max(largest, v);
    unclean = hn::IfThenElse(hn::IsNaN(v), v, unclean);
  });
  const float top = hn::GetLane(hn::MaxOfLanes(d, largest)), nan = hn::GetLane(hn::SumOfLanes(d, unclean));
  if (!std::isfinite(top) || nan != 0) return top + nan;
  const V base = hn::Set(d, top);
  V sum = hn::Zero(d);
  for_each_padded(x, n, [&](V v, int64_t, int) { sum = hn::Add(sum, hn::Exp(d, hn::Max(hn::Sub(v, base), hn::Set(d, -100.0f)))); });
  return top + std::log(hn::GetLane(hn::SumOfLanes(d, sum)));
}

template <class T>
void forward(const T* x, const int32_t* labels, int64_t rows, int64_t classes, float* loss, float* log_sum_exp, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = x + r * classes;
    const bool is_class = labels[r] >= 0 && labels[r] < classes;
    log_sum_exp[r] = row_log_sum_exp(row, classes);
    loss[r] = is_class ? log_sum_exp[r] - value(row + labels[r]) : std::numeric_limits<float>::quiet_NaN();
  }
}

template <class T>
void gradient(const T* x, const int32_t* labels, const float* log_sum_exp, const float* dy, int64_t rows, int64_t classes, T* dx,
              int threads) {
  const D d;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = x + r * classes;
    T* to = dx + r * classes;
    const V base = hn::Set(d, log_sum_exp[r]), scale = hn::Set(d, dy[r]);
    const auto lane = hn::Iota(d, 0.0f);
    for_each_padded(row, classes, [&](V v, int64_t i, int count) {
      const V p = hn::Exp(d, hn::Min(hn::Max(hn::Sub(v, base), hn::Set(d, -100.0f)), hn::Zero(d)));
      const V label = hn::Set(d, float(labels[r] - i));  // if it is one of these lanes, the number is small and so exact
      const V g = hn::Mul(scale, hn::Sub(p, hn::IfThenElseZero(hn::Eq(lane, label), hn::Set(d, 1.0f))));
      if (count == int(hn::Lanes(d))) {
        store(g, d, to + i);
      } else {
        T part[hn::MaxLanes(D())];
        store(g, d, part);
        std::copy_n(part, count, to + i);
      }
    });
  }
}

void forward_float(const float* x, const int32_t* labels, int64_t rows, int64_t classes, float* loss, float* log_sum_exp, int threads) {
  forward(x, labels, rows, classes, loss, log_sum_exp, threads);
}
void forward_bfloat(const uint16_t* x, const int32_t* labels, int64_t rows, int64_t classes, float* loss, float* log_sum_exp, int threads) {
  forward(x, labels, rows, classes, loss, log_sum_exp, threads);
}
void gradient_float(const float* x, const int32_t* labels, const float* log_sum_exp, const float* dy, int64_t rows, int64_t classes,
                    float* dx, int threads) {
  gradient(x, labels, log_sum_exp, dy, rows, classes, dx, threads);
}
void gradient_bfloat(const uint16_t* x, const int32_t* labels, const float* log_sum_exp, const float* dy, int64_t rows, int64_t classes,
                     uint16_t* dx, int threads) {
  gradient(x, labels, log_sum_exp, dy, rows, classes, dx, threads);
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(forward_float);
HWY_EXPORT(forward_bfloat);
HWY_EXPORT(gradient_float);
HWY_EXPORT(gradient_bfloat);

template <>
void cross_entropy_rows(const float* x, const int32_t* labels, int64_t rows, int64_t classes, float* loss, float* log_sum_exp,
                        int threads) {
  HWY_DYNAMIC_DISPATCH(forward_float)(x, labels, rows, classes, loss, log_sum_exp, threads);
}
template <>
void cross_entropy_rows(const uint16_t* x, const int32_t* labels, int64_t rows, int64_t classes, float* loss, float* log_sum_exp,
                        int threads) {
  HWY_DYNAMIC_DISPATCH(forward_bfloat)(x, labels, rows, classes, loss, log_sum_exp, threads);
}
template <>
void cross_entropy_gradient(const float* x, const int32_t* labels, const float* log_sum_exp, const float* dy, int64_t rows, int64_t classes,
                            float* dx, int threads) {
  HWY_DYNAMIC_DISPATCH(gradient_float)(x, labels, log_sum_exp, dy, rows, classes, dx, threads);
}
template <>
void cross_entropy_gradient(const uint16_t* x, const int32_t* labels, const float* log_sum_exp, const float* dy, int64_t rows,
                            int64_t classes, uint16_t* dx, int threads) {
  HWY_DYNAMIC_DISPATCH(gradient_bfloat)(x, labels, log_sum_exp, dy, rows, classes, dx, threads);
}

}  // namespace m2bert::ops::cpu
#endif
