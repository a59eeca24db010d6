// One vector lane is one channel; a transform runs along the text for all lanes at once. Its input is complex: the gated signal of the
// first convolution is the real part, the residual convolution's signal the imaginary part, so that one transform serves both.
// The forward transform (decimation in frequency) leaves frequencies in bit-reversed order, the inverse (decimation in time) takes them
// so: nothing is ever permuted. Recursion keeps the parts of long transforms inside the cache.
#include "m2bert/ops/kernels/mixer_simd.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <numbers>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/kernels/mixer_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include "m2bert/ops/kernels/simd.h"

#ifndef M2BERT_MIXER_SIMD_ONCE
#define M2BERT_MIXER_SIMD_ONCE
namespace m2bert::ops::kernels {

// For each radix-4 step of size m = n, n/4, ...: w^j, w^2j, w^3j for j < m/4, w = exp(-2 pi i / m); six floats a j.
struct Twiddles {
  int n = 0;
  std::map<int, std::vector<float>> of_size;

  explicit Twiddles(int length) : n(length) {
    for (int m = n; m >= 4; m /= 4) {
      auto& table = of_size[m];
      for (int j = 0; j < m / 4; ++j) {
        for (int power = 1; power <= 3; ++power) {
          const double angle = -2 * std::numbers::pi * double(power) * j / m;
          table.push_back(float(std::cos(angle)));
          table.push_back(float(std::sin(angle)));
        }
      }
    }
  }
};

// Made once a length.
inline const Twiddles& twiddles(int n) {
  static std::mutex mutex;
  static std::map<int, std::unique_ptr<Twiddles>> made;
  std::lock_guard lock(mutex);
  auto& entry = made[n];
  if (!entry) entry = std::make_unique<Twiddles>(n);
  return *entry;
}

}  // namespace m2bert::ops::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::kernels::HWY_NAMESPACE {

using D = hn::CappedTag<float, kChannelBlock>;
using V = hn::Vec<D>;

struct Complex {
  V re, im;
};

HWY_INLINE Complex add(Complex a, Complex b) { return {hn::Add(a.re, b.re), hn::Add(a.im, b.im)}; }
HWY_INLINE Complex sub(Complex a, Complex b) { return {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)}; }
HWY_INLINE Complex times_minus_i(Complex a) { return {a.im, hn::Neg(a.re)}; }
HWY_INLINE Complex times_i(Complex a) { return {hn::Neg(a.im), a.re}; }
HWY_INLINE Complex mul(Complex a, V re, V im) {
  return {hn::NegMulAdd(a.im, im, hn::Mul(a.re, re)), hn::MulAdd(a.im, re, hn::Mul(a.re, im))};
}
HWY_INLINE Complex mul_conj(Complex a, V re, V im) {  // a * conj(re + i im)
  return {hn::MulAdd(a.im, im, hn::Mul(a.re, re)), hn::NegMulAdd(a.re, im, hn::Mul(a.im, re))};
}

// The transform's working memory: position p holds N real parts, then N imaginary parts.
struct Buffer {
  float* at;
  size_t lanes;
  HWY_INLINE Complex get(D d, size_t p) const {
    const float* x = at + 2 * p * lanes;
    return {hn::Load(d, x), hn::Load(d, x + lanes)};
  }
  HWY_INLINE void put(D d, size_t p, Complex c) const {
    float* x = at + 2 * p * lanes;
    hn::Store(c.re, d, x);
    hn::Store(c.im, d, x + lanes);
  }
};

// Two radix-2 steps of decimation in frequency on positions [start, start + m). upper_half_zero: the second half counts as 0.
template <bool upper_half_zero>
HWY_INLINE void forward_step(Buffer x, size_t start, size_t m, const float* w) {
  const D d;
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6) {
    const size_t p = start + j;
    const Complex a0 = x.get(d, p), a1 = x.get(d, p + q);
    Complex even0 = a0, even1 = a1, odd0 = a0, odd1 = times_minus_i(a1);
    if constexpr (!upper_half_zero) {
      const Complex a2 = x.get(d, p + 2 * q), a3 = x.get(d, p + 3 * q);
      even0 = add(a0, a2);
      even1 = add(a1, a3);
      odd0 = sub(a0, a2);
      odd1 = times_minus_i(sub(a1, a3));
    }
    x.put(d, p, add(even0, even1));
    x.put(d, p + q, mul(sub(even0, even1), hn::Set(d, w[2]), hn::Set(d, w[3])));
    x.put(d, p + 2 * q, mul(add(odd0, odd1), hn::Set(d, w[0]), hn::Set(d, w[1])));
    x.put(d, p + 3 * q, mul(sub(odd0, odd1), hn::Set(d, w[4]), hn::Set(d, w[5])));
  }
}

// Undoes forward_step (times 4). lower_half_only: the second half of the result is not wanted.
template <bool lower_half_only>
HWY_INLINE void inverse_step(Buffer x, size_t start, size_t m, const float* w) {
  const D d;
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6) {
    const size_t p = start + j;
    const Complex c0 = x.get(d, p), c1 = mul_conj(x.get(d, p + q), hn::Set(d, w[2]), hn::Set(d, w[3]));
    const Complex c2 = mul_conj(x.get(d, p + 2 * q), hn::Set(d, w[0]), hn::Set(d, w[1]));
    const Complex c3 = mul_conj(x.get(d, p + 3 * q), hn::Set(d, w[4]), hn::Set(d, w[5]));
    const Complex even0 = add(c0, c1), even1 = sub(c0, c1), odd0 = add(c2, c3), odd1 = times_i(sub(c2, c3));
    x.put(d, p, add(even0, odd0));
    x.put(d, p + q, add(even1, odd1));
    if constexpr (!lower_half_only) {
      x.put(d, p + 2 * q, sub(even0, odd0));
      x.put(d, p + 3 * q, sub(even1, odd1));
    }
  }
}

HWY_INLINE void butterfly(Buffer x, size_t start) {
  const D d;
  const Complex a = x.get(d, start), b = x.get(d, start + 1);
  x.put(d, start, add(a, b));
  x.put(d, start + 1, sub(a, b));
}

// Both cut a transform into four by one step and go on inside each quarter while it is in the cache.
void forward(Buffer x, size_t start, size_t m, const Twiddles& t) {
  if (m == 1) return;
  if (m == 2) return butterfly(x, start);
  forward_step<false>(x, start, m, t.of_size.at(int(m)).data());
  for (size_t i = 0; i < 4; ++i) forward(x, start + i * (m / 4), m / 4, t);
}

void inverse(Buffer x, size_t start, size_t m, const Twiddles& t) {
  if (m == 1) return;
  if (m == 2) return butterfly(x, start);
  for (size_t i = 0; i < 4; ++i) inverse(x, start + i * (m / 4), m / 4, t);
  inverse_step<false>(x, start, m, t.of_size.at(int(m)).data());
}

void forward_of_half(Buffer x, const Twiddles& t) {  // positions from n / 2 on count as 0
  const size_t n = size_t(t.n);
  forward_step<true>(x, 0, n, t.of_size.at(t.n).data());
  for (size_t i = 0; i < 4; ++i) forward(x, i * (n / 4), n / 4, t);
}

void inverse_to_half(Buffer x, const Twiddles& t) {  // positions from n / 2 on are left undefined
  const size_t n = size_t(t.n);
  for (size_t i = 0; i < 4; ++i) inverse(x, i * (n / 4), n / 4, t);
  inverse_step<true>(x, 0, n, t.of_size.at(t.n).data());
}

// Calls f(p, partner, index) for each pair of positions that hold frequencies f and -f; positions 0 and 1 are their own partners.
// In bit-reversed order the partners mirror each other inside [2^k, 2^(k+1)).
template <class F>
HWY_INLINE void for_pairs(size_t n, F&& f) {
  f(size_t{0}, size_t{0}, size_t{0});
  f(size_t{1}, size_t{1}, size_t{1});
  size_t index = 2;
  for (size_t k = 2; k < n; k *= 2) {
    for (size_t p = k; p < k + k / 2; ++p) f(p, 3 * k - 1 - p, index++);
  }
}

// W[f] = Z[f] A[f] + conj(Z[-f]) B[f] with A = (K1 + K2) / 2 and B = (K1 - K2) / 2: the product of both signals, taken apart and put
// together again, with the two filters. A and B at -f are the conjugates of those at f.
void apply_filters(Buffer x, size_t n, const float* prepared) {
  const D d;
  for_pairs(n, [&](size_t p, size_t partner, size_t index) {
    const float* row = prepared + index * 4 * kChannelBlock;
    const V a_re = hn::LoadU(d, row), a_im = hn::LoadU(d, row + kChannelBlock);
    const V b_re = hn::LoadU(d, row + 2 * kChannelBlock), b_im = hn::LoadU(d, row + 3 * kChannelBlock);
    const Complex z = x.get(d, p), other = x.get(d, partner);
    const Complex z_conj{z.re, hn::Neg(z.im)}, other_conj{other.re, hn::Neg(other.im)};
    x.put(d, p, add(mul(z, a_re, a_im), mul(other_conj, b_re, b_im)));
    if (partner != p) x.put(d, partner, add(mul_conj(other, a_re, a_im), mul_conj(z_conj, b_re, b_im)));
  });
}

// Filters of `lanes` channels from h on, and what apply_filters wants of them.
void prepare_block(const float* k, const float* k_rev, const float* skip, const float* k2, const float* k2_rev, const float* skip2, int L,
                   int H, int h, Buffer x, const Twiddles& t, float* prepared) {
  const D d;
  const size_t n = size_t(t.n);
  const V zero = hn::Zero(d);
  for (size_t p = 0; p < n; ++p) x.put(d, p, {zero, zero});
  auto value = [&](const float* table, int row) { return table ? hn::LoadU(d, table + size_t(row) * size_t(H) + h) : zero; };
  for (int t0 = 0; t0 < L; ++t0) x.put(d, size_t(t0), {value(k, t0), value(k2, t0)});
  for (int r = 0; r + 1 < L; ++r)
    x.put(d, n - 1 - size_t(r), {value(k_rev, r), value(k2_rev, r)});  // position -1-r; the last reaches nothing
  const Complex first = x.get(d, 0);
  x.put(d, 0, {hn::Add(first.re, value(skip, 0)), hn::Add(first.im, value(skip2, 0))});
  forward(x, 0, n, t);
  const V quarter = hn::Set(d, 0.25f / float(n));
  for_pairs(n, [&](size_t p, size_t partner, size_t index) {
    // K1 = (Z + conj Z') / 2, K2 = (Z - conj Z') / 2i; stored are (K1 +- K2) / 2n.
    const Complex z = x.get(d, p), other = x.get(d, partner);
    const Complex k1{hn::Add(z.re, other.re), hn::Sub(z.im, other.im)}, k2f{hn::Add(z.im, other.im), hn::Sub(other.re, z.re)};
    float* row = prepared + index * 4 * kChannelBlock;
    hn::StoreU(hn::Mul(quarter, hn::Add(k1.re, k2f.re)), d, row);
    hn::StoreU(hn::Mul(quarter, hn::Add(k1.im, k2f.im)), d, row + kChannelBlock);
    hn::StoreU(hn::Mul(quarter, hn::Sub(k1.re, k2f.re)), d, row + 2 * kChannelBlock);
    hn::StoreU(hn::Mul(quarter, hn::Sub(k1.im, k2f.im)), d, row + 3 * kChannelBlock);
  });
}

// The short convolution of one third (0: x1, 1: x2, 2: v) for the lanes from channel h on; called for t = 0, 1, 2, ...
template <class T>
struct ShortConv {
  ShortConv(const T* projected, const float* weight, const float* bias, int H, int third, int h)
      : column(projected + third * H + h), stride(3 * size_t(H)), b(hn::LoadU(D(), bias + third * H + h)) {
    HWY_ALIGN float tap[3][kChannelBlock];
    const size_t N = hn::Lanes(D());
    for (size_t c = 0; c < N; ++c) {
      for (int j = 0; j < 3; ++j) tap[j][c] = weight[(size_t(third * H + h) + c) * 3 + size_t(j)];
    }
    w0 = hn::Load(D(), tap[0]);
    w1 = hn::Load(D(), tap[1]);
    w2 = hn::Load(D(), tap[2]);
  }
  HWY_INLINE V next() {
    const V now = load(D(), column);
    column += stride;
    const V y = hn::MulAdd(w2, now, hn::MulAdd(w1, before, hn::MulAdd(w0, before2, b)));
    before2 = before;
    before = now;
    return y;
  }
  const T* column;
  size_t stride;
  V b, w0, w1, w2;
  V before = hn::Zero(D()), before2 = hn::Zero(D());
};

template <class T>
void mix_block(const T* projected, const T* u, const float* weight, const float* bias, const float* prepared, int L, int H, int h, Buffer x,
               const Twiddles& t, T* y) {
  const D d;
  const size_t n = size_t(t.n);
  const V zero = hn::Zero(d);
  ShortConv<T> x1(projected, weight, bias, H, 0, h), v(projected, weight, bias, H, 2, h);
  for (int s = 0; s < L; ++s) x.put(d, size_t(s), {hn::Mul(x1.next(), v.next()), u ? load(d, u + size_t(s) * size_t(H) + h) : zero});
  for (size_t s = size_t(L); s < n / 2; ++s) x.put(d, s, {zero, zero});
  forward_of_half(x, t);
  apply_filters(x, n, prepared);
  inverse_to_half(x, t);
  ShortConv<T> x2(projected, weight, bias, H, 1, h);
  for (int s = 0; s < L; ++s) {
    const Complex c = x.get(d, size_t(s));
    store(hn::MulAdd(x2.next(), c.re, c.im), d, y + size_t(s) * size_t(H) + h);
  }
}

hwy::AlignedFreeUniquePtr<float[]> working_memory(int n) { return hwy::AllocateAligned<float>(2 * size_t(n) * hn::Lanes(D())); }

void prepare_all(const float* k, const float* k_rev, const float* skip, const float* k2, const float* k2_rev, const float* skip2, int L,
                 int H, float* prepared, int threads) {
  const auto& t = twiddles(mixer_transform_length(L));
  const int N = int(hn::Lanes(D()));
  const size_t per_block = mixer_prepared_size(kChannelBlock, L);
#pragma omp parallel num_threads(threads)
  {
    auto memory = working_memory(t.n);
    const Buffer x{memory.get(), size_t(N)};
#pragma omp for schedule(static)
    for (int h = 0; h < H; h += N) {
      float* out = prepared + size_t(h / kChannelBlock) * per_block + h % kChannelBlock;
      prepare_block(k, k_rev, skip, k2, k2_rev, skip2, L, H, h, x, t, out);
    }
  }
}

template <class T>
void mix_all(const T* projected, const T* u, const float* weight, const float* bias, const float* prepared, int B, int L, int H, T* y,
             int threads) {
  const auto& t = twiddles(mixer_transform_length(L));
  const int N = int(hn::Lanes(D())), blocks = H / N;
  const size_t per_block = mixer_prepared_size(kChannelBlock, L);
#pragma omp parallel num_threads(threads)
  {
    auto memory = working_memory(t.n);
    const Buffer x{memory.get(), size_t(N)};
#pragma omp for schedule(static)
    for (int i = 0; i < blocks * B; ++i) {  // texts innermost: their filters stay in the cache
      const int h = i / B * N;
      const size_t row = size_t(i % B) * size_t(L) * size_t(H);
      const float* filters = prepared + size_t(h / kChannelBlock) * per_block + h % kChannelBlock;
      mix_block(projected + 3 * row, u ? u + row : nullptr, weight, bias, filters, L, H, h, x, t, y + row);
    }
  }
}

void mix_float(const float* projected, const float* u, const float* weight, const float* bias, const float* prepared, int B, int L, int H,
               float* y, int threads) {
  mix_all(projected, u, weight, bias, prepared, B, L, H, y, threads);
}

void mix_bfloat(const uint16_t* projected, const uint16_t* u, const float* weight, const float* bias, const float* prepared, int B, int L,
                int H, uint16_t* y, int threads) {
  mix_all(projected, u, weight, bias, prepared, B, L, H, y, threads);
}

}  // namespace m2bert::ops::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::kernels {

HWY_EXPORT(prepare_all);
HWY_EXPORT(mix_float);
HWY_EXPORT(mix_bfloat);

int mixer_transform_length(int L) { return int(std::bit_ceil(std::max(4u, 2 * unsigned(L)))); }

size_t mixer_prepared_size(int H, int L) { return size_t(H) * (size_t(mixer_transform_length(L)) / 2 + 1) * 4; }

void mixer_prepare(const float* k, const float* k_rev, const float* D, const float* k2, const float* k2_rev, const float* D2, int L, int H,
                   float* prepared, int threads) {
  HWY_DYNAMIC_DISPATCH(prepare_all)(k, k_rev, D, k2, k2_rev, D2, L, H, prepared, threads);
}

template <>
void mixer_forward(const float* projected, const float* u, const float* short_weight, const float* short_bias, const float* prepared, int B,
                   int L, int H, float* y, int threads) {
  HWY_DYNAMIC_DISPATCH(mix_float)(projected, u, short_weight, short_bias, prepared, B, L, H, y, threads);
}

template <>
void mixer_forward(const uint16_t* projected, const uint16_t* u, const float* short_weight, const float* short_bias, const float* prepared,
                   int B, int L, int H, uint16_t* y, int threads) {
  HWY_DYNAMIC_DISPATCH(mix_bfloat)(projected, u, short_weight, short_bias, prepared, B, L, H, y, threads);
}

}  // namespace m2bert::ops::kernels
#endif
