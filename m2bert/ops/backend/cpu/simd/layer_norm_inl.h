// Layer normalization of one row of any width, and its gradient. Highway code, included once per SIMD target, hence the unusual include
// guard.
#if defined(M2BERT_OPS_CPU_LAYER_NORM_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef M2BERT_OPS_CPU_LAYER_NORM_INL_H
#undef M2BERT_OPS_CPU_LAYER_NORM_INL_H
#else
#define M2BERT_OPS_CPU_LAYER_NORM_INL_H
#endif

#include <cmath>
#include <cstdint>

#include <hwy/highway.h>

#include "m2bert/ops/backend/cpu/simd/layer_norm_simd.h"
#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The mean of a row, in all lanes; total: the row's sum, spread over the lanes.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V row_mean(D d, V total, int64_t width) {
  return hn::Div(hn::SumOfLanes(d, total), hn::Set(d, float(width)));
}

// 1 / sqrt(variance + eps) in all lanes; squares: the sum of the row's squared distances from its mean, spread over the lanes.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V inverse_deviation(D d, V squares, int64_t width, float eps) {
  return hn::Set(d, 1.0f / std::sqrt(hn::GetLane(row_mean(d, squares, width)) + eps));
}

// s = x + residual, or x without a residual. Returns the sum of s, spread over the lanes.
template <class D, class T>
HWY_INLINE hn::Vec<D> add_residual(D d, const T* x, const T* residual, int64_t width, float* s) {
  auto total = hn::Zero(d);
  for_each_vector(
      d, width,
      [&](int64_t i) {
        const auto v = residual ? hn::Add(load(d, x + i), load(d, residual + i)) : load(d, x + i);
        hn::StoreU(v, d, s + i);
        total = hn::Add(total, v);
      },
      [&](int64_t i, int64_t n) {
        auto v = load_part(d, x + i, n);
        if (residual) v = hn::Add(v, load_part(d, residual + i, n));
        store_part(v, d, s + i, n);
        total = hn::Add(total, v);
      });
  return total;
}

// y = (s - mean) / sqrt(variance + eps) * weight + bias; total: the sum of s, spread over the lanes.
template <class D, class T>
HWY_INLINE void normalize_row(D d, const float* s, hn::Vec<D> total, const LayerNormParams& norm, int64_t width, T* y) {
  const auto mean = row_mean(d, total, width);
  auto squares = hn::Zero(d);
  for_each_vector(
      d, width,
      [&](int64_t i) {
        const auto centred = hn::Sub(hn::LoadU(d, s + i), mean);
        squares = hn::MulAdd(centred, centred, squares);
      },
      [&](int64_t i, int64_t n) {
        const float m = hn::GetLane(mean);
        float rest = 0;
        for (int64_t j = i; j < i + n; ++j) rest += (s[j] - m) * (s[j] - m);
        squares = hn::Add(squares, hn::Set(d, rest / float(hn::Lanes(d))));
      });
  const auto scale = inverse_deviation(d, squares, width, norm.eps);
  for_each_vector(
      d, width,
      [&](int64_t i) {
        const auto normalized = hn::Mul(hn::Sub(hn::LoadU(d, s + i), mean), scale);
        store(hn::MulAdd(normalized, hn::LoadU(d, norm.weight + i), hn::LoadU(d, norm.bias + i)), d, y + i);
      },
      [&](int64_t i, int64_t n) {
        const auto normalized = hn::Mul(hn::Sub(load_part(d, s + i, n), mean), scale);
        store_part(hn::MulAdd(normalized, load_part(d, norm.weight + i, n), load_part(d, norm.bias + i, n)), d, y + i, n);
      });
}

// The gradient of a row: ds of x (and of the residual); adds the row's share to d_weight and d_bias. s: scratch memory of `width` floats.
template <class D, class T>
void layer_norm_gradient_row(D d, const T* x, const T* residual, const float* weight, float eps, const T* dy, T* ds, int64_t width,
                             float* s, float* d_weight, float* d_bias) {
  using V = hn::Vec<D>;
  // f(i, n) for each vector: n < 0 is a full one, else only n lanes count.
  auto for_each = [&](auto&& f) {
    for_each_vector(d, width, [&](int64_t i) { f(i, int64_t{-1}); }, [&](int64_t i, int64_t n) { f(i, n); });
  };
  auto get = [&](const auto* row, int64_t i, int64_t n) { return n < 0 ? load(d, row + i) : load_part(d, row + i, n); };
  auto put = [&](V v, auto* row, int64_t i, int64_t n) { n < 0 ? store(v, d, row + i) : store_part(v, d, row + i, n); };
  const V mean = row_mean(d, add_residual(d, x, residual, width, s), width);
  V squares = hn::Zero(d);
  for_each([&](int64_t i, int64_t n) {
    V centred = hn::Sub(get(s, i, n), mean);
    if (n >= 0) centred = hn::IfThenElseZero(hn::FirstN(d, size_t(n)), centred);
    put(centred, s, i, n);
    squares = hn::MulAdd(centred, centred, squares);
  });
  const V scale = inverse_deviation(d, squares, width, eps);
  V sum_g = hn::Zero(d), sum_gx = hn::Zero(d);
  for_each([&](int64_t i, int64_t n) {
    const V cotangent = get(dy, i, n), normalized = hn::Mul(get(s, i, n), scale), g = hn::Mul(cotangent, get(weight, i, n));
    put(normalized, s, i, n);
    put(hn::MulAdd(cotangent, normalized, get(d_weight, i, n)), d_weight, i, n);
    put(hn::Add(cotangent, get(d_bias, i, n)), d_bias, i, n);
    sum_g = hn::Add(g, sum_g);
    sum_gx = hn::MulAdd(g, normalized, sum_gx);
  });
  const V mean_g = row_mean(d, sum_g, width), mean_gx = row_mean(d, sum_gx, width);
  for_each([&](int64_t i, int64_t n) {
    const V g = hn::Mul(get(dy, i, n), get(weight, i, n));
    put(hn::Mul(scale, hn::NegMulAdd(get(s, i, n), mean_gx, hn::Sub(g, mean_g))), ds, i, n);
  });
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
