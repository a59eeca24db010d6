#include "m2bert/ops/backend/cpu/simd/optimizer_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/optimizer_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <algorithm>

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

struct AdamWVectors {
  explicit AdamWVectors(const AdamWConstants& c, const AdamWSpan& s)
      : beta1(set(c.beta1)),
        beta2(set(c.beta2)),
        rest1(set(1 - c.beta1)),
        rest2(set(1 - c.beta2)),
        eps(set(c.eps)),
        root_scale(set(c.root_scale)),
        g_scale(set(c.g_scale)),
        g_limit(set(c.g_limit)),
        step(set(s.step)),
        keep(set(s.keep)) {}
  static HWY_INLINE V set(float x) { return hn::Set(D(), x); }
  V beta1, beta2, rest1, rest2, eps, root_scale, g_scale, g_limit, step, keep;
};

// A NaN in g stays a NaN; clamping does not replace it.
HWY_INLINE void adamw(const AdamWVectors& c, V& p, V& m, V& v, V g) {
  g = hn::Mul(g, c.g_scale);
  g = hn::IfThenElse(hn::Gt(hn::Abs(g), c.g_limit), hn::CopySign(c.g_limit, g), g);
  m = hn::MulAdd(c.beta1, m, hn::Mul(c.rest1, g));
  v = hn::MulAdd(c.beta2, v, hn::Mul(c.rest2, hn::Mul(g, g)));
  const V direction = hn::Div(m, hn::MulAdd(hn::Sqrt(v), c.root_scale, c.eps));
  p = hn::NegMulAdd(c.step, direction, hn::Mul(c.keep, p));
}

void adamw_block(const AdamWConstants& constants, const AdamWSpan& s, int64_t begin, int64_t end) {
  const D d;
  const int64_t N = int64_t(hn::Lanes(d));
  const AdamWVectors c(constants, s);
  int64_t i = begin;
  for (; i + N <= end; i += N) {
    V p = hn::LoadU(d, s.p_from + i), m = hn::LoadU(d, s.m_from + i), v = hn::LoadU(d, s.v_from + i);
    adamw(c, p, m, v, hn::LoadU(d, s.g + i));
    hn::StoreU(p, d, s.p + i);
    hn::StoreU(m, d, s.m + i);
    hn::StoreU(v, d, s.v + i);
  }
  for (; i < end; ++i) {  // the same code, so that a value has the same result as inside a vector
    V p = hn::Set(d, s.p_from[i]), m = hn::Set(d, s.m_from[i]), v = hn::Set(d, s.v_from[i]);
    adamw(c, p, m, v, hn::Set(d, s.g[i]));
    s.p[i] = hn::GetLane(p);
    s.m[i] = hn::GetLane(m);
    s.v[i] = hn::GetLane(v);
  }
}

float squares_of_block(const float* x, int64_t size) {
  const D d;
  const int64_t N = int64_t(hn::Lanes(d));
  V a = hn::Zero(d), b = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * N <= size; i += 2 * N) {
    const V x0 = hn::LoadU(d, x + i), x1 = hn::LoadU(d, x + i + N);
    a = hn::MulAdd(x0, x0, a);
    b = hn::MulAdd(x1, x1, b);
  }
  float rest = 0;
  for (; i < size; ++i) rest += x[i] * x[i];
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b))) + rest;
}

void axpby_block(const AxpbySpan& s, float a, float b, int64_t begin, int64_t end) {
  const D d;
  const int64_t N = int64_t(hn::Lanes(d));
  const V va = hn::Set(d, a), vb = hn::Set(d, b);
  int64_t i = begin;
  for (; i + N <= end; i += N) {
    hn::StoreU(hn::MulAdd(va, hn::LoadU(d, s.y_from + i), hn::Mul(vb, hn::LoadU(d, s.x + i))), d, s.y + i);
  }
  for (; i < end; ++i) {
    s.y[i] = hn::GetLane(hn::MulAdd(va, hn::Set(d, s.y_from[i]), hn::Mul(vb, hn::Set(d, s.x[i]))));
  }
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(adamw_block);
HWY_EXPORT(squares_of_block);
HWY_EXPORT(axpby_block);

namespace {

constexpr int64_t kBlock = 1 << 14;  // values; four arrays of a block stay in the cache of a core

struct Block {
  size_t span;
  int64_t begin, end;
};

template <class Span>
std::vector<Block> blocks_of(const std::vector<Span>& spans) {
  std::vector<Block> blocks;
  for (size_t i = 0; i < spans.size(); ++i) {
    for (int64_t at = 0; at < spans[i].size; at += kBlock) blocks.push_back({i, at, std::min(spans[i].size, at + kBlock)});
  }
  return blocks;
}

}  // namespace

void adamw_spans(const std::vector<AdamWSpan>& spans, const AdamWConstants& c, int threads) {
  const auto blocks = blocks_of(spans);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (size_t i = 0; i < blocks.size(); ++i) HWY_DYNAMIC_DISPATCH(adamw_block)(c, spans[blocks[i].span], blocks[i].begin, blocks[i].end);
}

double sum_of_squares(const std::vector<ConstSpan>& spans, int threads) {
  const auto blocks = blocks_of(spans);
  std::vector<float> sums(blocks.size());
#pragma omp parallel for schedule(static) num_threads(threads)
  for (size_t i = 0; i < blocks.size(); ++i) {
    const Block& b = blocks[i];
    sums[i] = HWY_DYNAMIC_DISPATCH(squares_of_block)(spans[b.span].at + b.begin, b.end - b.begin);
  }
  double total = 0;
  for (const float sum : sums) total += sum;
  return total;
}

void axpby_spans(const std::vector<AxpbySpan>& spans, float a, float b, int threads) {
  const auto blocks = blocks_of(spans);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (size_t i = 0; i < blocks.size(); ++i) HWY_DYNAMIC_DISPATCH(axpby_block)(spans[blocks[i].span], a, b, blocks[i].begin, blocks[i].end);
}

}  // namespace m2bert::ops::cpu
#endif
