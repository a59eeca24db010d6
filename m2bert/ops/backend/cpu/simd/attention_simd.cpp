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
#include "m2bert/ops/backend/cpu/simd/gemm_rows_inl.h"
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

constexpr int kQueryBlock = 4 * kRowGemmRows;  // queries whose scores are computed at a time
constexpr int kFour = 4;                       // keys and columns that are transposed at a time

int padded_keys(int keys) {
  const int width = panel_width(NarrowTag());
  return (keys + width - 1) / width * width;
}

bool attend_head_supports(int d, int dv) { return HWY_ARCH_X86 && d % kFour == 0 && dv % panel_width(NarrowTag()) == 0; }
// The transposed keys, the biases, and the scores of a block.
size_t attend_head_scratch(int keys, int d) { return size_t(padded_keys(keys)) * size_t(d + 1 + kQueryBlock); }

// to [4 columns, stride] = 4 rows of 4 columns, the transpose of what row(i) returns.
template <class Row>
HWY_INLINE void transpose(const Row& row, int stride, float* to) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < stride; ++i) {  // as many as a panel has
    for (int c = 0; c < kFour; ++c) to[c * stride + i] = row(i) ? row(i)[c] : 0;
  }
#else
  const hn::FixedTag<float, kFour> d;
  const hn::Repartition<uint64_t, decltype(d)> pairs;
  auto load = [&](int i) HWY_ATTR { return row(i) ? hn::LoadU(d, row(i)) : hn::Zero(d); };
  const auto row0 = load(0), row1 = load(1), row2 = load(2), row3 = load(3);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, row0, row1)), low23 = hn::BitCast(pairs, hn::InterleaveLower(d, row2, row3));
  const auto up01 = hn::BitCast(pairs, hn::InterleaveUpper(d, row0, row1)), up23 = hn::BitCast(pairs, hn::InterleaveUpper(d, row2, row3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, to + stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, up01, up23)), d, to + 2 * stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, up01, up23)), d, to + 3 * stride);
#endif
}

// The keys as panels for multiply_rows: each holds columns 0 ... d - 1 of two vectors of keys. Keys past the last one are 0.
void transpose_keys(const HeadRows& h, float* panels) {
  for_panels(padded_keys(h.keys), [&](auto d, int first) HWY_ATTR {
    const int width = panel_width(d), step = std::min(kFour, width);
    for (int i0 = 0; i0 < width; i0 += step) {
      float* to = panels + first * h.d + i0;
      const int j = first + i0;
      for (int c = 0; c < h.d; c += kFour) {
        transpose([&](int i) { return j + i < h.keys ? h.k + (j + i) * h.k_stride + c : nullptr; }, width, to + c * width);
      }
    }
  });
}

// Turns the products of query i with the keys into exp(score - maximum), and sets its statistics. bias: minus infinity where there is no
// key. Returns the sum of the exponentials.
HWY_INLINE float softmax_row(const HeadRows& h, int i, const float* bias, int padded, float* row) {
  const D df;
  const int N = int(hn::Lanes(df));
  V most = minus_infinity();
  for (int j = 0; j < padded; j += N) {
    V s = hn::MulAdd(hn::LoadU(df, row + j), hn::Set(df, h.scale), hn::LoadU(df, bias + j));
    if (h.slope != 0) {
      const V ahead = hn::Sub(hn::Iota(df, float(j)), hn::Set(df, float(i)));
      s = hn::NegMulAdd(hn::Set(df, h.slope), hn::Abs(ahead), s);
    }
    hn::StoreU(s, df, row + j);
    most = hn::Max(most, s);
  }
  const float top = hn::GetLane(hn::MaxOfLanes(df, most));
  V total = hn::Zero(df);
  const V base = hn::Set(df, top == -std::numeric_limits<float>::infinity() ? 0 : top);  // every key may be masked
  for (int j = 0; j < padded; j += N) {
    const V e = exp_negative(hn::Sub(hn::LoadU(df, row + j), base));
    hn::StoreU(e, df, row + j);
    total = hn::Add(total, e);
  }
  const float sum = hn::GetLane(hn::SumOfLanes(df, total));
  if (h.maxima) h.maxima[i * h.stats_stride] = top, h.sums[i * h.stats_stride] = sum;
  return sum;
}

void attend_head(const HeadRows& h, float* scratch) {
  const D df;
  const int N = int(hn::Lanes(df)), padded = padded_keys(h.keys);
  float *panels = scratch, *bias = panels + padded * h.d, *scores = bias + padded;
  transpose_keys(h, panels);
  std::fill(bias, bias + h.keys, 0.0f);
  if (h.key_bias) std::copy_n(h.key_bias, h.keys, bias);
  std::fill(bias + h.keys, bias + padded, -std::numeric_limits<float>::infinity());
  for (int i0 = 0; i0 < h.queries; i0 += kQueryBlock) {
    const int rows = std::min(kQueryBlock, h.queries - i0);
    for_panels(padded, [&](auto d, int j) HWY_ATTR {
      for_row_groups(rows, [&]<int count>(int r) HWY_ATTR {
        multiply_rows<count>(d, h.q + (i0 + r) * h.q_stride, h.q_stride, h.d, panels + j * h.d, panel_width(d), nullptr, 0,
                             scores + r * padded + j, padded);
      });
    });
    float sums[kQueryBlock];
    for (int r = 0; r < rows; ++r) sums[r] = softmax_row(h, i0 + r, bias, padded, scores + r * padded);
    for_panels(h.dv, [&](auto d, int c) HWY_ATTR {
      for_row_groups(rows, [&]<int count>(int r) HWY_ATTR {
        multiply_rows<count>(d, scores + r * padded, padded, h.keys, h.v + c, h.v_stride, nullptr, 0, h.y + (i0 + r) * h.y_stride + c,
                             h.y_stride);
      });
    });
    for (int r = 0; r < rows; ++r) {
      float* y = h.y + (i0 + r) * h.y_stride;
      const V factor = hn::Set(df, sums[r] == 0 ? 0 : 1 / sums[r]);
      for (int c = 0; c < h.dv; c += N) hn::StoreU(hn::Mul(hn::LoadU(df, y + c), factor), df, y + c);
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
HWY_EXPORT(attend_head_supports);
HWY_EXPORT(attend_head_scratch);
HWY_EXPORT(attend_head);
HWY_EXPORT(scale_row);
HWY_EXPORT(dot_row);
HWY_EXPORT(add_row);

void softmax_block(const ScoreBlock& block, float* maxima, float* sums, float* correction) {
  HWY_DYNAMIC_DISPATCH(softmax_block)(block, maxima, sums, correction);
}
void gradient_block(const ScoreBlock& block, const float* maxima, const float* sums, const float* delta, float* probability_gradient) {
  HWY_DYNAMIC_DISPATCH(gradient_block)(block, maxima, sums, delta, probability_gradient);
}
bool attend_head_supports(int d, int dv) { return HWY_DYNAMIC_DISPATCH(attend_head_supports)(d, dv); }
size_t attend_head_scratch(int keys, int d) { return HWY_DYNAMIC_DISPATCH(attend_head_scratch)(keys, d); }
void attend_head(const HeadRows& head, float* scratch) { HWY_DYNAMIC_DISPATCH(attend_head)(head, scratch); }
void scale_row(const float* x, float factor, int n, float* y) { HWY_DYNAMIC_DISPATCH(scale_row)(x, factor, n, y); }
float dot_row(const float* x, const float* y, int n) { return HWY_DYNAMIC_DISPATCH(dot_row)(x, y, n); }
void add_row(const float* x, int64_t n, float* y) { HWY_DYNAMIC_DISPATCH(add_row)(x, n, y); }

}  // namespace m2bert::ops::cpu
#endif
