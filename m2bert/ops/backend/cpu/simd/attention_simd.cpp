#include "m2bert/ops/backend/cpu/simd/attention_simd.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/attention_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "m2bert/ops/backend/cpu/simd/dropout_inl.h"
#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

inline V minus_infinity() { return hn::Set(D(), -std::numeric_limits<float>::infinity()); }

// exp(x) for x <= 0; 0 for minus infinity, and NaN for NaN.
HWY_INLINE V exp_negative(V x) {
  const D df;
  const V e = hn::Exp(df, hn::Max(x, hn::Set(df, -100.0f)));
  return hn::IfThenElse(hn::IsNaN(x), x, hn::IfThenElseZero(hn::Gt(x, hn::Set(df, -100.0f)), e));
}

// What dropout multiplies the probabilities of one query by.
DropoutFactor<D> row_dropout(const DropoutHash& hash, uint32_t line, int i) {
  return {hash_mix(hash_mix(hash.key[0] + line) + uint32_t(i)), hash_mix(hash_mix(hash.key[1] + line) + uint32_t(i)), hash.threshold,
          hash.scale};
}

// Loads n <= N lanes and sets the others to `fill`. Memory past them is not touched.
HWY_INLINE V load_part(const float* at, size_t n, V fill) {
  const D df;
  if (n == hn::Lanes(df)) return hn::LoadU(df, at);
  HWY_ALIGN float part[hn::MaxLanes(D())];
  hn::Store(fill, df, part);
  std::copy_n(at, n, part);
  return hn::Load(df, part);
}
HWY_INLINE void store_part(V v, float* at, size_t n) {
  const D df;
  if (n == hn::Lanes(df)) return hn::StoreU(v, df, at);
  HWY_ALIGN float part[hn::MaxLanes(D())];
  hn::Store(v, df, part);
  std::copy_n(part, n, at);
}

// The scores of row r and keys j ... j + n - 1 with all biases; minus infinity in the other lanes.
HWY_INLINE V biased(const ScoreBlock& b, int r, int j, size_t n) {
  const D df;
  V s = load_part(b.scores + r * b.stride + j, n, minus_infinity());
  if (b.key_bias) s = hn::Add(s, load_part(b.key_bias + j, n, hn::Zero(df)));
  if (b.bias) {
    const float* row = b.bias + r * b.bias_row;
    s = hn::Add(s, b.bias_key == 0 ? hn::Set(df, *row) : load_part(row + j, n, hn::Zero(df)));
  }
  if (b.slope != 0 || b.causal) {
    const V ahead = hn::Sub(hn::Iota(df, float(b.j0 + j)), hn::Set(df, float(b.i0 + r)));
    s = hn::NegMulAdd(hn::Set(df, b.slope), hn::Abs(ahead), s);
    if (b.causal) s = hn::IfThenElse(hn::Gt(ahead, hn::Zero(df)), minus_infinity(), s);
  }
  return s;
}

bool has_bias(const ScoreBlock& b) { return b.key_bias || b.bias || b.slope != 0 || b.causal; }

template <class F>
HWY_INLINE void for_lanes(int keys, const F& f) {
  const int N = int(hn::Lanes(D()));
  int j = 0;
  for (; j + N <= keys; j += N) f(j, size_t(N));
  if (j < keys) f(j, size_t(keys - j));
}

void softmax_block(const ScoreBlock& b, float* maxima, float* sums, float* correction) {
  const D df;
  for (int r = 0; r < b.rows; ++r) {
    float* row = b.scores + r * b.stride;
    V most = minus_infinity();
    const bool with_bias = has_bias(b);
    for_lanes(b.keys, [&](int j, size_t n) {
      const V s = biased(b, r, j, n);
      if (with_bias) store_part(s, row + j, n);
      most = hn::Max(most, s);
    });
    const float top = std::max(maxima[r], hn::GetLane(hn::MaxOfLanes(df, most)));
    if (top == -std::numeric_limits<float>::infinity()) {  // every key so far is masked
      std::fill_n(row, b.keys, 0.0f);
      correction[r] = 1;
      continue;
    }
    correction[r] = std::exp(maxima[r] - top);
    maxima[r] = top;
    V total = hn::Zero(df);
    auto exponentials = [&](auto dropped) {
      for_lanes(b.keys, [&](int j, size_t n) {
        const V e = exp_negative(hn::Sub(load_part(row + j, n, minus_infinity()), hn::Set(df, top)));
        total = hn::Add(total, e);
        store_part(dropped(e, j), row + j, n);
      });
    };
    if (b.dropout) {
      const auto dropout = row_dropout(*b.dropout, b.line, b.i0 + r);
      exponentials([&](V e, int j) { return hn::Mul(e, dropout(D(), b.j0 + j)); });
    } else {
      exponentials([](V e, int) { return e; });
    }
    sums[r] = sums[r] * correction[r] + hn::GetLane(hn::SumOfLanes(df, total));
  }
}

void gradient_block(const ScoreBlock& b, const float* maxima, const float* sums, const float* delta, float* probability_gradient) {
  const D df;
  for (int r = 0; r < b.rows; ++r) {
    float* row = b.scores + r * b.stride;
    float* gradient = probability_gradient + r * b.stride;
    if (sums[r] == 0) {
      std::fill_n(row, b.keys, 0.0f);
      std::fill_n(gradient, b.keys, 0.0f);
      continue;
    }
    const V top = hn::Set(df, maxima[r]), share = hn::Set(df, 1 / sums[r]), less = hn::Set(df, delta[r]);
    auto finish = [&](auto factor) {
      for_lanes(b.keys, [&](int j, size_t n) {
        const V p = hn::Mul(exp_negative(hn::Sub(biased(b, r, j, n), top)), share);
        const V m = factor(j);
        const V dp = hn::Mul(load_part(gradient + j, n, hn::Zero(df)), m);
        store_part(hn::Mul(p, hn::Sub(dp, less)), gradient + j, n);
        store_part(hn::Mul(p, m), row + j, n);
      });
    };
    if (b.dropout) {
      const auto dropout = row_dropout(*b.dropout, b.line, b.i0 + r);
      finish([&](int j) { return dropout(D(), b.j0 + j); });
    } else {
      finish([&](int) { return hn::Set(df, 1.0f); });
    }
  }
}

void scale_row(const float* x, float factor, int n, float* y) {
  const D df;
  for_lanes(n, [&](int c, size_t lanes) { store_part(hn::Mul(load_part(x + c, lanes, hn::Zero(df)), hn::Set(df, factor)), y + c, lanes); });
}

float dot_row(const float* x, const float* y, int n) {
  const D df;
  V sum = hn::Zero(df);
  for_lanes(
      n, [&](int c, size_t lanes) { sum = hn::MulAdd(load_part(x + c, lanes, hn::Zero(df)), load_part(y + c, lanes, hn::Zero(df)), sum); });
  return hn::GetLane(hn::SumOfLanes(df, sum));
}

void add_row(const float* x, int64_t n, float* y) {
  const D df;
  const int64_t N = int64_t(hn::Lanes(df));
  int64_t c = 0;
  for (; c + N <= n; c += N) hn::StoreU(hn::Add(hn::LoadU(df, x + c), hn::LoadU(df, y + c)), df, y + c);
  for (; c < n; ++c) y[c] += x[c];
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(softmax_block);
HWY_EXPORT(gradient_block);
HWY_EXPORT(scale_row);
HWY_EXPORT(dot_row);
HWY_EXPORT(add_row);

void softmax_block(const ScoreBlock& block, float* maxima, float* sums, float* correction) {
  HWY_DYNAMIC_DISPATCH(softmax_block)(block, maxima, sums, correction);
}
void gradient_block(const ScoreBlock& block, const float* maxima, const float* sums, const float* delta, float* probability_gradient) {
  HWY_DYNAMIC_DISPATCH(gradient_block)(block, maxima, sums, delta, probability_gradient);
}
void scale_row(const float* x, float factor, int n, float* y) { HWY_DYNAMIC_DISPATCH(scale_row)(x, factor, n, y); }
float dot_row(const float* x, const float* y, int n) { return HWY_DYNAMIC_DISPATCH(dot_row)(x, y, n); }
void add_row(const float* x, int64_t n, float* y) { HWY_DYNAMIC_DISPATCH(add_row)(x, n, y); }

}  // namespace m2bert::ops::cpu
#endif
