// A work item is one head of one text. Its keys are transposed once, so that a vector holds one channel of several keys; four queries
// share every load of keys and values.
#include "m2bert/ops/kernels/attention_simd.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/kernels/attention_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/aligned_allocator.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "m2bert/ops/kernels/simd.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::kernels::HWY_NAMESPACE {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

inline float widen(float x) { return x; }
inline float widen(uint16_t x) { return hwy::F32FromBF16(hwy::bfloat16_t{x}); }

constexpr int kRows = 4;  // queries worked on together

size_t round_up(size_t n) {
  const size_t N = hn::Lanes(D());
  return (n + N - 1) / N * N;
}

// One head of one text in float, padded to whole vectors.
struct Head {
  Head(int S, int d)
      : keys(round_up(size_t(S))),
        width(round_up(size_t(d))),
        k_t(hwy::AllocateAligned<float>(size_t(d) * keys)),
        v(hwy::AllocateAligned<float>(size_t(S) * width)),
        bias(hwy::AllocateAligned<float>(keys)),
        scores(hwy::AllocateAligned<float>(kRows * keys)),
        queries(hwy::AllocateAligned<float>(kRows * size_t(d))) {}
  size_t keys, width;                                  // S and d in whole vectors
  hwy::AlignedFreeUniquePtr<float[]> k_t, v, bias;     // [d][keys], [S][width], [keys]
  hwy::AlignedFreeUniquePtr<float[]> scores, queries;  // [rows][keys], [rows][d]
};

template <class T>
void load_head(const T* k, const T* v, const float* key_bias, int S, int d, size_t stride, Head& h) {
  std::fill_n(h.k_t.get(), size_t(d) * h.keys, 0.0f);
  std::fill_n(h.v.get(), size_t(S) * h.width, 0.0f);
  for (int j = 0; j < S; ++j) {
    for (int c = 0; c < d; ++c) {
      h.k_t[size_t(c) * h.keys + size_t(j)] = widen(k[size_t(j) * stride + size_t(c)]);
      h.v[size_t(j) * h.width + size_t(c)] = widen(v[size_t(j) * stride + size_t(c)]);
    }
    h.bias[size_t(j)] = key_bias[j];
  }
  std::fill(h.bias.get() + S, h.bias.get() + h.keys, -std::numeric_limits<float>::infinity());
}

// scores[r][j] = queries[r] . k[j] + bias[j] - slope |i + r - j|, turned into exp(score - max) in place; sums[r] their sum.
void softmax_rows(Head& h, int i, int d, float slope, float* sums) {
  const D df;
  const size_t N = hn::Lanes(df);
  V most[kRows];
  for (auto& m : most) m = hn::Set(df, -std::numeric_limits<float>::infinity());
  for (size_t j = 0; j < h.keys; j += N) {
    V sum[kRows];
    for (auto& s : sum) s = hn::Zero(df);
    for (int c = 0; c < d; ++c) {
      const V key = hn::Load(df, h.k_t.get() + size_t(c) * h.keys + j);
      for (int r = 0; r < kRows; ++r) sum[r] = hn::MulAdd(hn::Set(df, h.queries[size_t(r * d + c)]), key, sum[r]);
    }
    const V bias = hn::Load(df, h.bias.get() + j);
    const V at = hn::Add(hn::Iota(df, 0), hn::Set(df, float(j)));
    for (int r = 0; r < kRows; ++r) {
      const V distance = hn::Abs(hn::Sub(at, hn::Set(df, float(i + r))));
      const V score = hn::Add(sum[r], hn::NegMulAdd(hn::Set(df, slope), distance, bias));
      hn::Store(score, df, h.scores.get() + size_t(r) * h.keys + j);
      most[r] = hn::Max(most[r], score);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    const V top = hn::MaxOfLanes(df, most[r]);
    V total = hn::Zero(df);
    float* row = h.scores.get() + size_t(r) * h.keys;
    for (size_t j = 0; j < h.keys; j += N) {
      const V score = hn::Load(df, row + j);
      // The padding's score is minus infinity, which Exp need not take.
      const V e = hn::IfThenElseZero(hn::Gt(score, hn::Set(df, -std::numeric_limits<float>::infinity())),
                                     hn::Exp(df, hn::Max(hn::Sub(score, top), hn::Set(df, -100.0f))));
      hn::Store(e, df, row + j);
      total = hn::Add(total, e);
    }
    sums[r] = hn::GetLane(hn::SumOfLanes(df, total));
  }
}

template <class T>
void weigh_values(const Head& h, int S, int d, int rows, const float* sums, size_t stride, T* y) {
  const D df;
  const size_t N = hn::Lanes(df);
  HWY_ALIGN float part[hn::MaxLanes(D())];
  for (size_t c = 0; c < size_t(d); c += N) {
    V sum[kRows];
    for (auto& s : sum) s = hn::Zero(df);
    for (int j = 0; j < S; ++j) {
      const V value = hn::Load(df, h.v.get() + size_t(j) * h.width + c);
      for (int r = 0; r < kRows; ++r) sum[r] = hn::MulAdd(hn::Set(df, h.scores[size_t(r) * h.keys + size_t(j)]), value, sum[r]);
    }
    for (int r = 0; r < rows; ++r) {
      const V mixed = hn::Div(sum[r], hn::Set(df, sums[r]));
      T* to = y + size_t(r) * stride + c;
      if (c + N <= size_t(d)) {
        store(mixed, df, to);
        continue;
      }
      T narrow[hn::MaxLanes(D())];
      hn::Store(mixed, df, part);
      store(hn::Load(df, part), df, narrow);
      std::copy_n(narrow, size_t(d) - c, to);
    }
  }
}

template <class T>
void attend_all(const T* q, const T* k, const T* v, const float* key_bias, const float* slopes, int B, int S, int heads, int d, T* y,
                int threads) {
  const size_t stride = size_t(heads) * size_t(d);
  const float scale = 1 / std::sqrt(float(d));
#pragma omp parallel num_threads(threads)
  {
    Head head(S, d);
#pragma omp for schedule(dynamic)
    for (int item = 0; item < B * heads; ++item) {
      const int b = item / heads, h = item % heads;
      const size_t first = size_t(b) * size_t(S) * stride + size_t(h) * size_t(d);
      load_head(k + first, v + first, key_bias + size_t(b) * size_t(S), S, d, stride, head);
      for (int i = 0; i < S; i += kRows) {
        const int rows = std::min(kRows, S - i);
        for (int r = 0; r < kRows; ++r) {  // rows beyond the text repeat its last one
          const T* from = q + first + size_t(std::min(i + r, S - 1)) * stride;
          for (int c = 0; c < d; ++c) head.queries[size_t(r * d + c)] = scale * widen(from[c]);
        }
        float sums[kRows];
        softmax_rows(head, i, d, slopes ? slopes[h] : 0, sums);
        weigh_values(head, S, d, rows, sums, stride, y + first + size_t(i) * stride);
      }
    }
  }
}

void attend_float(const float* q, const float* k, const float* v, const float* key_bias, const float* slopes, int B, int S, int heads,
                  int d, float* y, int threads) {
  attend_all(q, k, v, key_bias, slopes, B, S, heads, d, y, threads);
}
void attend_bfloat(const uint16_t* q, const uint16_t* k, const uint16_t* v, const float* key_bias, const float* slopes, int B, int S,
                   int heads, int d, uint16_t* y, int threads) {
  attend_all(q, k, v, key_bias, slopes, B, S, heads, d, y, threads);
}

}  // namespace m2bert::ops::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::kernels {

HWY_EXPORT(attend_float);
HWY_EXPORT(attend_bfloat);

template <>
void self_attention_rows(const float* q, const float* k, const float* v, const float* key_bias, const float* slopes, int B, int S,
                         int heads, int d, float* y, int threads) {
  HWY_DYNAMIC_DISPATCH(attend_float)(q, k, v, key_bias, slopes, B, S, heads, d, y, threads);
}
template <>
void self_attention_rows(const uint16_t* q, const uint16_t* k, const uint16_t* v, const float* key_bias, const float* slopes, int B, int S,
                         int heads, int d, uint16_t* y, int threads) {
  HWY_DYNAMIC_DISPATCH(attend_bfloat)(q, k, v, key_bias, slopes, B, S, heads, d, y, threads);
}

}  // namespace m2bert::ops::kernels
#endif
