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

// The steps of size 4, whose root is 1.
HWY_INLINE void forward_of_four(Buffer x, size_t p) {
  const D d;
  const Complex a0 = x.get(d, p), a1 = x.get(d, p + 1), a2 = x.get(d, p + 2), a3 = x.get(d, p + 3);
  const Complex even0 = add(a0, a2), even1 = add(a1, a3), odd0 = sub(a0, a2), odd1 = times_minus_i(sub(a1, a3));
  x.put(d, p, add(even0, even1));
  x.put(d, p + 1, sub(even0, even1));
  x.put(d, p + 2, add(odd0, odd1));
  x.put(d, p + 3, sub(odd0, odd1));
}

HWY_INLINE void inverse_of_four(Buffer x, size_t p) {
  const D d;
  const Complex c0 = x.get(d, p), c1 = x.get(d, p + 1), c2 = x.get(d, p + 2), c3 = x.get(d, p + 3);
  const Complex even0 = add(c0, c1), even1 = sub(c0, c1), odd0 = add(c2, c3), odd1 = times_i(sub(c2, c3));
  x.put(d, p, add(even0, odd0));
  x.put(d, p + 1, add(even1, odd1));
  x.put(d, p + 2, sub(even0, odd0));
  x.put(d, p + 3, sub(even1, odd1));
}

HWY_INLINE void butterfly(Buffer x, size_t start) {
  const D d;
  const Complex a = x.get(d, start), b = x.get(d, start + 1);
  x.put(d, start, add(a, b));
  x.put(d, start + 1, sub(a, b));
}

// Both cut a transform into four by one step and go on inside each quarter while it is in the cache.
HWY_ATTR inline void forward(Buffer x, size_t start, size_t m, const Twiddles& t) {
  if (m == 1) return;
  if (m == 2) return butterfly(x, start);
  if (m == 4) return forward_of_four(x, start);
  forward_step<false>(x, start, m, t.of(m));
  for (size_t i = 0; i < 4; ++i) forward(x, start + i * (m / 4), m / 4, t);
}

HWY_ATTR inline void inverse(Buffer x, size_t start, size_t m, const Twiddles& t) {
  if (m == 1) return;
  if (m == 2) return butterfly(x, start);
  if (m == 4) return inverse_of_four(x, start);
  for (size_t i = 0; i < 4; ++i) inverse(x, start + i * (m / 4), m / 4, t);
  inverse_step<false>(x, start, m, t.of(m));
}

HWY_ATTR inline void forward_of_half(Buffer x, const Twiddles& t) {  // positions from n / 2 on count as 0
  forward_step<true>(x, 0, t.n, t.of(t.n));
  for (size_t i = 0; i < 4; ++i) forward(x, i * (t.n / 4), t.n / 4, t);
}

HWY_ATTR inline void inverse_to_half(Buffer x, const Twiddles& t) {  // positions from n / 2 on are left undefined
  for (size_t i = 0; i < 4; ++i) inverse(x, i * (t.n / 4), t.n / 4, t);
  inverse_step<true>(x, 0, t.n, t.of(t.n));
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

inline hwy::AlignedFreeUniquePtr<float[]> working_memory(size_t n) { return hwy::AllocateAligned<float>(2 * n * hn::Lanes(D())); }

// Fills positions [from, to) with zeros.
HWY_INLINE void clear(Buffer x, size_t from, size_t to) {
  const V zero = hn::Zero(D());
  for (size_t p = from; p < to; ++p) x.put(D(), p, {zero, zero});
}

}  // namespace m2bert::ops::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
