// A fast Fourier transform along the text for as many channels as a vector has lanes: one lane is one channel.
// The forward transform (decimation in frequency) leaves frequencies in bit-reversed order, the inverse (decimation in time) takes them
// so: nothing is ever permuted. Recursion keeps the parts of long transforms inside the cache. Lengths are powers of two, from 4 on;
// the inverse does not divide by the length. Included once a SIMD target.
#if defined(M2BERT_OPS_KERNELS_FFT_SIMD_H) == defined(HWY_TARGET_TOGGLE)
#ifdef M2BERT_OPS_KERNELS_FFT_SIMD_H
#undef M2BERT_OPS_KERNELS_FFT_SIMD_H
#else
#define M2BERT_OPS_KERNELS_FFT_SIMD_H
#endif

#include <bit>
#include <cstddef>

#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include "m2bert/ops/kernels/fft.h"
#include "m2bert/ops/kernels/simd.h"

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
HWY_INLINE Complex mul(Complex a, Complex b) { return mul(a, b.re, b.im); }
HWY_INLINE Complex conj(Complex a) { return {a.re, hn::Neg(a.im)}; }
HWY_INLINE Complex mul_conj(Complex a, V re, V im) {  // a * conj(re + i im)
  return {hn::MulAdd(a.im, im, hn::Mul(a.re, re)), hn::NegMulAdd(a.re, im, hn::Mul(a.im, re))};
}

HWY_INLINE Complex mul_conj(Complex a, Complex b) { return mul_conj(a, b.re, b.im); }
HWY_INLINE Complex scale(Complex a, V by) { return {hn::Mul(a.re, by), hn::Mul(a.im, by)}; }

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

// Four values of a transform, a quarter of it apart.
struct Four {
  Complex v[4];
};

// Two radix-2 steps of decimation in frequency; w: w^j, w^2j, w^3j. upper_half_zero: v[2] and v[3] count as 0.
template <bool upper_half_zero>
HWY_INLINE Four forward_step(const Four& a, const float* w) {
  const D d;
  Complex even0 = a.v[0], even1 = a.v[1], odd0 = a.v[0], odd1 = times_minus_i(a.v[1]);
  if constexpr (!upper_half_zero) {
    even0 = add(a.v[0], a.v[2]);
    even1 = add(a.v[1], a.v[3]);
    odd0 = sub(a.v[0], a.v[2]);
    odd1 = times_minus_i(sub(a.v[1], a.v[3]));
  }
  return {{add(even0, even1), mul(sub(even0, even1), hn::Set(d, w[2]), hn::Set(d, w[3])),
           mul(add(odd0, odd1), hn::Set(d, w[0]), hn::Set(d, w[1])), mul(sub(odd0, odd1), hn::Set(d, w[4]), hn::Set(d, w[5]))}};
}

// Undoes forward_step (times 4).
HWY_INLINE Four inverse_step(const Four& c, const float* w) {
  const D d;
  const Complex c1 = mul_conj(c.v[1], hn::Set(d, w[2]), hn::Set(d, w[3])), c2 = mul_conj(c.v[2], hn::Set(d, w[0]), hn::Set(d, w[1])),
                c3 = mul_conj(c.v[3], hn::Set(d, w[4]), hn::Set(d, w[5]));
  const Complex even0 = add(c.v[0], c1), even1 = sub(c.v[0], c1), odd0 = add(c2, c3), odd1 = times_i(sub(c2, c3));
  return {{add(even0, odd0), add(even1, odd1), sub(even0, odd0), sub(even1, odd1)}};
}

// The steps of size 4, whose root is 1.
HWY_INLINE Four forward_step(const Four& a) {
  const Complex even0 = add(a.v[0], a.v[2]), even1 = add(a.v[1], a.v[3]), odd0 = sub(a.v[0], a.v[2]),
                odd1 = times_minus_i(sub(a.v[1], a.v[3]));
  return {{add(even0, even1), sub(even0, even1), add(odd0, odd1), sub(odd0, odd1)}};
}
HWY_INLINE Four inverse_step(const Four& c) {
  const Complex even0 = add(c.v[0], c.v[1]), even1 = sub(c.v[0], c.v[1]), odd0 = add(c.v[2], c.v[3]), odd1 = times_i(sub(c.v[2], c.v[3]));
  return {{add(even0, odd0), add(even1, odd1), sub(even0, odd0), sub(even1, odd1)}};
}

// Positions p, p + q, p + 2 q, p + 3 q; of the first `count` of them.
template <int count = 4>
HWY_INLINE Four get_four(Buffer x, size_t p, size_t q) {
  const D d;
  Four four{};
  for (size_t i = 0; i < count; ++i) four.v[i] = x.get(d, p + i * q);
  return four;
}
template <int count = 4>
HWY_INLINE void put_four(Buffer x, size_t p, size_t q, const Four& four) {
  const D d;
  for (size_t i = 0; i < count; ++i) x.put(d, p + i * q, four.v[i]);
}

// One step on positions [start, start + m).
template <bool upper_half_zero>
HWY_INLINE void forward_pass(Buffer x, size_t start, size_t m, const float* w) {
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6)
    put_four(x, start + j, q, forward_step<upper_half_zero>(get_four<upper_half_zero ? 2 : 4>(x, start + j, q), w));
}
template <bool lower_half_only>
HWY_INLINE void inverse_pass(Buffer x, size_t start, size_t m, const float* w) {
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6) put_four<lower_half_only ? 2 : 4>(x, start + j, q, inverse_step(get_four(x, start + j, q), w));
}

// Two steps in one pass over the memory, those of size m and of size m / 4: sixteen values, an m / 16 apart, are worked on together. A
// quarter of size 4 has the root 1 (last_of_four).
template <bool upper_half_zero, bool last_of_four>
HWY_INLINE void forward_double_pass(Buffer x, size_t start, size_t m, const Twiddles& t) {
  const size_t q = m / 4, r = m / 16;
  const float *outer = t.of(m), *inner = last_of_four ? nullptr : t.of(q);
  for (size_t j = 0; j < r; ++j) {
    const size_t p = start + j;
    Four quarter[4];  // [place in its quarter]: of each quarter one value
    for (size_t k = 0; k < 4; ++k)
      quarter[k] = forward_step<upper_half_zero>(get_four<upper_half_zero ? 2 : 4>(x, p + k * r, q), outer + 6 * (j + k * r));
    for (size_t i = 0; i < 4; ++i) {
      const Four of_quarter{{quarter[0].v[i], quarter[1].v[i], quarter[2].v[i], quarter[3].v[i]}};
      put_four(x, p + i * q, r, last_of_four ? forward_step(of_quarter) : forward_step<false>(of_quarter, inner + 6 * j));
    }
  }
}
template <bool lower_half_only, bool first_of_four>
HWY_INLINE void inverse_double_pass(Buffer x, size_t start, size_t m, const Twiddles& t) {
  const size_t q = m / 4, r = m / 16;
  const float *outer = t.of(m), *inner = first_of_four ? nullptr : t.of(q);
  for (size_t j = 0; j < r; ++j) {
    const size_t p = start + j;
    Four quarter[4];  // [quarter]
    for (size_t i = 0; i < 4; ++i) {
      const Four four = get_four(x, p + i * q, r);
      quarter[i] = first_of_four ? inverse_step(four) : inverse_step(four, inner + 6 * j);
    }
    for (size_t k = 0; k < 4; ++k) {
      const Four across{{quarter[0].v[k], quarter[1].v[k], quarter[2].v[k], quarter[3].v[k]}};
      put_four<lower_half_only ? 2 : 4>(x, p + k * r, q, inverse_step(across, outer + 6 * (j + k * r)));
    }
  }
}

HWY_INLINE void butterfly(Buffer x, size_t start) {
  const D d;
  const Complex a = x.get(d, start), b = x.get(d, start + 1);
  x.put(d, start, add(a, b));
  x.put(d, start + 1, sub(a, b));
}

// One radix-2 step on positions [start, start + m); w: w^j of each j < m / 4 at w[6 j].
template <bool upper_half_zero>
HWY_INLINE void forward_halving(Buffer x, size_t start, size_t m, const float* w) {
  const D d;
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6) {
    const Four a = get_four<upper_half_zero ? 2 : 4>(x, start + j, q);
    Complex even0 = a.v[0], even1 = a.v[1], odd0 = a.v[0], odd1 = times_minus_i(a.v[1]);
    if constexpr (!upper_half_zero) {
      even0 = add(a.v[0], a.v[2]);
      even1 = add(a.v[1], a.v[3]);
      odd0 = sub(a.v[0], a.v[2]);
      odd1 = times_minus_i(sub(a.v[1], a.v[3]));
    }
    const V re = hn::Set(d, w[0]), im = hn::Set(d, w[1]);
    put_four(x, start + j, q, {{even0, even1, mul(odd0, re, im), mul(odd1, re, im)}});
  }
}
template <bool lower_half_only>
HWY_INLINE void inverse_halving(Buffer x, size_t start, size_t m, const float* w) {
  const D d;
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6) {
    const Four c = get_four(x, start + j, q);
    const V re = hn::Set(d, w[0]), im = hn::Set(d, w[1]);
    const Complex odd0 = mul_conj(c.v[2], re, im), odd1 = times_i(mul_conj(c.v[3], re, im));
    put_four<lower_half_only ? 2 : 4>(x, start + j, q, {{add(c.v[0], odd0), add(c.v[1], odd1), sub(c.v[0], odd0), sub(c.v[1], odd1)}});
  }
}

// Transforms end in blocks of this many positions, each two steps by itself.
inline constexpr size_t kBlock = 16;

// Into how many parts a step cuts a transform of size m > kBlock, so that all end in blocks: 2, 4, or by a double pass 16.
HWY_INLINE size_t parts_of(size_t m) {
  const int levels = std::countr_zero(m) - std::countr_zero(kBlock);
  return levels % 2 == 1 ? 2 : levels % 4 == 2 ? 4 : 16;
}

// Both cut a transform and go on inside each part while it is in the cache. half: positions from n / 2 on count as 0, or are left
// undefined. blocks: the blocks' own steps, too.
template <bool half, bool blocks>
HWY_ATTR inline void forward_parts(Buffer x, size_t start, size_t m, const Twiddles& t) {
  if (m == kBlock) {
    if constexpr (blocks) forward_double_pass<half, true>(x, start, m, t);
    return;
  }
  const size_t parts = parts_of(m);
  if (parts == 2) {
    forward_halving<half>(x, start, m, t.of(m));
  } else if (parts == 4) {
    forward_pass<half>(x, start, m, t.of(m));
  } else {
    forward_double_pass<half, false>(x, start, m, t);
  }
  for (size_t i = 0; i < parts; ++i) forward_parts<false, blocks>(x, start + i * (m / parts), m / parts, t);
}

template <bool half, bool blocks>
HWY_ATTR inline void inverse_parts(Buffer x, size_t start, size_t m, const Twiddles& t) {
  if (m == kBlock) {
    if constexpr (blocks) inverse_double_pass<half, true>(x, start, m, t);
    return;
  }
  const size_t parts = parts_of(m);
  for (size_t i = 0; i < parts; ++i) inverse_parts<false, blocks>(x, start + i * (m / parts), m / parts, t);
  if (parts == 2) {
    inverse_halving<half>(x, start, m, t.of(m));
  } else if (parts == 4) {
    inverse_pass<half>(x, start, m, t.of(m));
  } else {
    inverse_double_pass<half, false>(x, start, m, t);
  }
}

template <bool half = false>
HWY_ATTR inline void forward(Buffer x, const Twiddles& t) {
  if (t.n >= kBlock) return forward_parts<half, true>(x, 0, t.n, t);
  if (t.n == 8) {
    forward_pass<half>(x, 0, 8, t.of(8));
    for (size_t i = 0; i < 4; ++i) butterfly(x, 2 * i);
  } else {
    put_four(x, 0, 1, half ? forward_step<true>(get_four<2>(x, 0, 1), t.of(4)) : forward_step(get_four(x, 0, 1)));
  }
}

template <bool half = false>
HWY_ATTR inline void inverse(Buffer x, const Twiddles& t) {
  if (t.n >= kBlock) return inverse_parts<half, true>(x, 0, t.n, t);
  if (t.n == 8) {
    for (size_t i = 0; i < 4; ++i) butterfly(x, 2 * i);
    inverse_pass<half>(x, 0, 8, t.of(8));
  } else {
    put_four<half ? 2 : 4>(x, 0, 1, inverse_step(get_four(x, 0, 1)));
  }
}

// Calls f(p, partner, index) for each pair of positions below n that hold frequencies f and -f; positions 0 and 1 are their own partners.
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

// Forward transform of the lower half, f of every pair of frequencies as in for_pairs, inverse transform of which the lower half is wanted.
// The steps inside blocks and f are one pass over the memory: a block and its mirror image at a time.
template <class F>
HWY_ATTR inline void transform_and_back(Buffer x, const Twiddles& t, const F& f) {
  if (t.n < 2 * kBlock) {
    forward<true>(x, t);
    for_pairs(t.n, f);
    return inverse<true>(x, t);
  }
  forward_parts<true, false>(x, 0, t.n, t);
  auto there = [&](size_t block) HWY_ATTR { forward_double_pass<false, true>(x, block, kBlock, t); };
  auto back = [&](size_t block) HWY_ATTR { inverse_double_pass<false, true>(x, block, kBlock, t); };
  // The first two blocks have their pairs inside them.
  there(0);
  there(kBlock);
  for_pairs(2 * kBlock, f);
  back(0);
  back(kBlock);
  for (size_t k = 2 * kBlock; k < t.n; k *= 2) {
    for (size_t block = k; block < k + k / 2; block += kBlock) {
      const size_t mirror = 3 * k - kBlock - block;
      there(block);
      there(mirror);
      for (size_t p = block; p < block + kBlock; ++p) f(p, 3 * k - 1 - p, k / 2 + 1 + (p - k));
      back(block);
      back(mirror);
    }
  }
  inverse_parts<true, false>(x, 0, t.n, t);
}

inline hwy::AlignedFreeUniquePtr<float[]> working_memory(size_t n) { return hwy::AllocateAligned<float>(2 * n * hn::Lanes(D())); }

// Fills positions [from, to) with zeros.
HWY_INLINE void clear(Buffer x, size_t from, size_t to) {
  const V zero = hn::Zero(D());
  for (size_t p = from; p < to; ++p) x.put(D(), p, {zero, zero});
}

}  // namespace m2bert::ops::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
