// FFT along the sequence for as many channels as a vector has lanes: each lane is one channel. The forward FFT (decimation in frequency)
// leaves the frequencies in bit-reversed order, and the inverse (decimation in time) reads them in that order, so nothing is ever permuted.
// Recursion keeps the parts of long transforms in the cache. Lengths are powers of two, at least 4; the inverse does not divide by the
// length. Highway code, included once per SIMD target, hence the unusual include guard.
#if defined(M2BERT_OPS_CPU_FFT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef M2BERT_OPS_CPU_FFT_INL_H
#undef M2BERT_OPS_CPU_FFT_INL_H
#else
#define M2BERT_OPS_CPU_FFT_INL_H
#endif

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"
#include "m2bert/ops/backend/cpu/simd/twiddles.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

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

// The memory that an FFT works on: position p holds N real parts, then N imaginary parts, for N lanes.
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
  Buffer from(size_t p) const { return {at + 2 * p * lanes, lanes}; }
};

// The same in half the memory: real and imaginary part are rounded to bfloat16 and share 32 bits.
struct Bfloat16Buffer {
  uint32_t* at;
  size_t lanes;
  HWY_INLINE Complex get(D d, size_t p) const { return unpack(d, at + p * lanes); }
  HWY_INLINE void put(D d, size_t p, Complex c) const { pack(c, d, at + p * lanes); }
  Bfloat16Buffer from(size_t p) const { return {at + p * lanes, lanes}; }

  static HWY_INLINE Complex unpack(D d, const uint32_t* from) {
    const hn::RebindToUnsigned<D> bits;
    const auto both = hn::LoadU(bits, from);
    return {hn::BitCast(d, hn::ShiftLeft<16>(both)), hn::BitCast(d, hn::And(both, hn::Set(bits, 0xffff0000)))};
  }
  static HWY_INLINE void pack(Complex c, D, uint32_t* to) {
    const hn::RebindToUnsigned<D> bits;
    // Rounds by adding half a unit in the last place. A NaN becomes the standard NaN, since its payload might overflow.
    auto rounded = [&](V v) {
      const auto nan = hn::RebindMask(bits, hn::IsNaN(v));
      return hn::IfThenElse(nan, hn::Set(bits, 0x7fc00000), hn::Add(hn::BitCast(bits, v), hn::Set(bits, 0x8000)));
    };
    hn::StoreU(hn::Or(hn::ShiftRight<16>(rounded(c.re)), hn::And(rounded(c.im), hn::Set(bits, 0xffff0000))), bits, to);
  }
};

// The four inputs or outputs of a radix-4 butterfly: values a quarter of the transform apart.
struct Radix4 {
  Complex v[4];
};

// A radix-4 butterfly of decimation in frequency; w: w^j, w^2j, w^3j. upper_half_zero: v[2] and v[3] are taken as 0.
template <bool upper_half_zero>
HWY_INLINE Radix4 forward_radix4(const Radix4& a, const float* w) {
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

// The inverse of forward_radix4, times 4.
HWY_INLINE Radix4 inverse_radix4(const Radix4& c, const float* w) {
  const D d;
  const Complex c1 = mul_conj(c.v[1], hn::Set(d, w[2]), hn::Set(d, w[3])), c2 = mul_conj(c.v[2], hn::Set(d, w[0]), hn::Set(d, w[1])),
                c3 = mul_conj(c.v[3], hn::Set(d, w[4]), hn::Set(d, w[5]));
  const Complex even0 = add(c.v[0], c1), even1 = sub(c.v[0], c1), odd0 = add(c2, c3), odd1 = times_i(sub(c2, c3));
  return {{add(even0, odd0), add(even1, odd1), sub(even0, odd0), sub(even1, odd1)}};
}

// The butterflies of a transform of length 4, whose twiddle factors are 1.
HWY_INLINE Radix4 forward_radix4(const Radix4& a) {
  const Complex even0 = add(a.v[0], a.v[2]), even1 = add(a.v[1], a.v[3]), odd0 = sub(a.v[0], a.v[2]),
                odd1 = times_minus_i(sub(a.v[1], a.v[3]));
  return {{add(even0, even1), sub(even0, even1), add(odd0, odd1), sub(odd0, odd1)}};
}
HWY_INLINE Radix4 inverse_radix4(const Radix4& c) {
  const Complex even0 = add(c.v[0], c.v[1]), even1 = sub(c.v[0], c.v[1]), odd0 = add(c.v[2], c.v[3]), odd1 = times_i(sub(c.v[2], c.v[3]));
  return {{add(even0, odd0), add(even1, odd1), sub(even0, odd0), sub(even1, odd1)}};
}

// The first `count` of the positions p, p + q, p + 2 q, p + 3 q. A pass reads from any type with Buffer's get() and writes to any type with
// its put(); both may be the same memory.
template <int count = 4, class From>
HWY_INLINE Radix4 load_radix4(const From& x, size_t p, size_t q) {
  const D d;
  Radix4 values{};
  for (size_t i = 0; i < count; ++i) values.v[i] = x.get(d, p + i * q);
  return values;
}
template <int count = 4, class To>
HWY_INLINE void store_radix4(const To& x, size_t p, size_t q, const Radix4& values) {
  const D d;
  for (size_t i = 0; i < count; ++i) x.put(d, p + i * q, values.v[i]);
}

// One radix-4 pass over positions [0, m).
template <bool upper_half_zero, class From, class To>
HWY_INLINE void forward_radix4_pass(const From& from, const To& to, size_t m, const float* w) {
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6)
    store_radix4(to, j, q, forward_radix4<upper_half_zero>(load_radix4<upper_half_zero ? 2 : 4>(from, j, q), w));
}
template <bool lower_half_only, class From, class To>
HWY_INLINE void inverse_radix4_pass(const From& from, const To& to, size_t m, const float* w) {
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6) store_radix4<lower_half_only ? 2 : 4>(to, j, q, inverse_radix4(load_radix4(from, j, q), w));
}

// Two radix-4 passes, of sizes m and m / 4, in one pass over the memory: sixteen values, m / 16 apart, are processed together. last_of_four
// and first_of_four: m / 4 is 4, so that the twiddle factors of the smaller size are 1.
template <bool upper_half_zero, bool last_of_four, class From, class To>
HWY_INLINE void forward_radix16_pass(const From& from, const To& to, size_t m, const Twiddles& t) {
  const size_t q = m / 4, r = m / 16;
  const float *outer = t.of(m), *inner = last_of_four ? nullptr : t.of(q);
  for (size_t j = 0; j < r; ++j) {
    Radix4 quarter[4];  // [position in its quarter]: one value of each quarter
    for (size_t k = 0; k < 4; ++k)
      quarter[k] = forward_radix4<upper_half_zero>(load_radix4<upper_half_zero ? 2 : 4>(from, j + k * r, q), outer + 6 * (j + k * r));
    for (size_t i = 0; i < 4; ++i) {
      const Radix4 of_quarter{{quarter[0].v[i], quarter[1].v[i], quarter[2].v[i], quarter[3].v[i]}};
      store_radix4(to, j + i * q, r, last_of_four ? forward_radix4(of_quarter) : forward_radix4<false>(of_quarter, inner + 6 * j));
    }
  }
}
template <bool lower_half_only, bool first_of_four, class From, class To>
HWY_INLINE void inverse_radix16_pass(const From& from, const To& to, size_t m, const Twiddles& t) {
  const size_t q = m / 4, r = m / 16;
  const float *outer = t.of(m), *inner = first_of_four ? nullptr : t.of(q);
  for (size_t j = 0; j < r; ++j) {
    Radix4 quarter[4];  // [quarter]
    for (size_t i = 0; i < 4; ++i) {
      const Radix4 values = load_radix4(from, j + i * q, r);
      quarter[i] = first_of_four ? inverse_radix4(values) : inverse_radix4(values, inner + 6 * j);
    }
    for (size_t k = 0; k < 4; ++k) {
      const Radix4 across{{quarter[0].v[k], quarter[1].v[k], quarter[2].v[k], quarter[3].v[k]}};
      store_radix4<lower_half_only ? 2 : 4>(to, j + k * r, q, inverse_radix4(across, outer + 6 * (j + k * r)));
    }
  }
}

HWY_INLINE void radix2_butterfly(Buffer x, size_t start) {
  const D d;
  const Complex a = x.get(d, start), b = x.get(d, start + 1);
  x.put(d, start, add(a, b));
  x.put(d, start + 1, sub(a, b));
}

// One radix-2 pass over positions [0, m); w^j for each j < m / 4 is at w[6 j].
template <bool upper_half_zero, class From, class To>
HWY_INLINE void forward_radix2_pass(const From& from, const To& to, size_t m, const float* w) {
  const D d;
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6) {
    const Radix4 a = load_radix4<upper_half_zero ? 2 : 4>(from, j, q);
    Complex even0 = a.v[0], even1 = a.v[1], odd0 = a.v[0], odd1 = times_minus_i(a.v[1]);
    if constexpr (!upper_half_zero) {
      even0 = add(a.v[0], a.v[2]);
      even1 = add(a.v[1], a.v[3]);
      odd0 = sub(a.v[0], a.v[2]);
      odd1 = times_minus_i(sub(a.v[1], a.v[3]));
    }
    const V re = hn::Set(d, w[0]), im = hn::Set(d, w[1]);
    store_radix4(to, j, q, {{even0, even1, mul(odd0, re, im), mul(odd1, re, im)}});
  }
}
template <bool lower_half_only, class From, class To>
HWY_INLINE void inverse_radix2_pass(const From& from, const To& to, size_t m, const float* w) {
  const D d;
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6) {
    const Radix4 c = load_radix4(from, j, q);
    const V re = hn::Set(d, w[0]), im = hn::Set(d, w[1]);
    const Complex odd0 = mul_conj(c.v[2], re, im), odd1 = times_i(mul_conj(c.v[3], re, im));
    store_radix4<lower_half_only ? 2 : 4>(to, j, q, {{add(c.v[0], odd0), add(c.v[1], odd1), sub(c.v[0], odd0), sub(c.v[1], odd1)}});
  }
}

// The recursion ends with blocks of this many positions, each transformed by one radix-16 pass.
inline constexpr size_t kFftBlock = 16;

// Into how many parts a pass splits a transform of size m > kFftBlock, so that the recursion ends with blocks: 2, 4 or 16.
HWY_INLINE size_t split_count(size_t m) {
  const int levels = std::countr_zero(m) - std::countr_zero(kFftBlock);
  return levels % 2 == 1 ? 2 : levels % 4 == 2 ? 4 : 16;
}

// The pass that splits positions [0, m) into split_count(m) transforms, and the one that merges their inverses. half: the positions from m
// / 2 on are taken as 0 by split, and not written by merge.
template <bool half, class From, class To>
HWY_ATTR inline void split(const From& from, const To& to, size_t m, const Twiddles& t) {
  const size_t parts = split_count(m);
  if (parts == 2) return forward_radix2_pass<half>(from, to, m, t.of(m));
  if (parts == 4) return forward_radix4_pass<half>(from, to, m, t.of(m));
  forward_radix16_pass<half, false>(from, to, m, t);
}
template <bool half, class From, class To>
HWY_ATTR inline void merge(const From& from, const To& to, size_t m, const Twiddles& t) {
  const size_t parts = split_count(m);
  if (parts == 2) return inverse_radix2_pass<half>(from, to, m, t.of(m));
  if (parts == 4) return inverse_radix4_pass<half>(from, to, m, t.of(m));
  inverse_radix16_pass<half, false>(from, to, m, t);
}

// All passes over positions [0, m); only the first one reads `from`, only the last one writes `to`, and the others work in x. blocks:
// includes the passes inside blocks.
template <bool half, bool blocks, class From>
HWY_ATTR inline void forward_recursive(const From& from, Buffer x, size_t m, const Twiddles& t) {
  if (m == kFftBlock) {
    if constexpr (blocks) forward_radix16_pass<half, true>(from, x, m, t);
    return;
  }
  split<half>(from, x, m, t);
  const size_t parts = split_count(m), q = m / parts;
  for (size_t i = 0; i < parts; ++i) forward_recursive<false, blocks>(x.from(i * q), x.from(i * q), q, t);
}
template <bool half, bool blocks, class To>
HWY_ATTR inline void inverse_recursive(Buffer x, const To& to, size_t m, const Twiddles& t) {
  if (m == kFftBlock) {
    if constexpr (blocks) inverse_radix16_pass<half, true>(x, to, m, t);
    return;
  }
  const size_t parts = split_count(m), q = m / parts;
  for (size_t i = 0; i < parts; ++i) inverse_recursive<false, blocks>(x.from(i * q), x.from(i * q), q, t);
  merge<half>(x, to, m, t);
}

// The FFT of x, in place. half: the positions from n / 2 on are taken as 0.
template <bool half = false>
HWY_ATTR inline void fft(Buffer x, const Twiddles& t) {
  if (t.n >= kFftBlock) return forward_recursive<half, true>(x, x, t.n, t);
  if (t.n == 8) {
    forward_radix4_pass<half>(x, x, 8, t.of(8));
    for (size_t i = 0; i < 4; ++i) radix2_butterfly(x, 2 * i);
  } else {
    store_radix4(x, 0, 1, half ? forward_radix4<true>(load_radix4<2>(x, 0, 1), t.of(4)) : forward_radix4(load_radix4(x, 0, 1)));
  }
}

// The inverse FFT of x, in place, times n. half: only the positions below n / 2 are computed.
template <bool half = false>
HWY_ATTR inline void ifft(Buffer x, const Twiddles& t) {
  if (t.n >= kFftBlock) return inverse_recursive<half, true>(x, x, t.n, t);
  if (t.n == 8) {
    for (size_t i = 0; i < 4; ++i) radix2_butterfly(x, 2 * i);
    inverse_radix4_pass<half>(x, x, 8, t.of(8));
  } else {
    store_radix4<half ? 2 : 4>(x, 0, 1, inverse_radix4(load_radix4(x, 0, 1)));
  }
}

// Calls f(p, partner, index) for each pair of positions below n that hold frequencies f and -f. Positions 0 and 1 are their own partners;
// in bit-reversed order the other partners mirror each other within [2^k, 2^(k+1)).
template <class F>
HWY_INLINE void for_each_frequency_pair(size_t n, F&& f) {
  f(size_t{0}, size_t{0}, size_t{0});
  f(size_t{1}, size_t{1}, size_t{1});
  size_t index = 2;
  for (size_t k = 2; k < n; k *= 2) {
    for (size_t p = k; p < k + k / 2; ++p) f(p, 3 * k - 1 - p, index++);
  }
}

// Parts of at most this many positions are transformed in the cache; two of them take 1 MiB with 16 lanes.
inline constexpr size_t kMaxCachedLength = 4096;
inline size_t cached_length(size_t n) { return std::min(n, 2 * kMaxCachedLength); }

// Values at two frequencies f and -f.
struct FrequencyPair {
  Complex at, mirror;
};

// Replaces each pair of frequencies in positions [0, n) by f(index, pair).
template <class F>
HWY_ATTR HWY_INLINE void apply_to_frequency_pairs(Buffer x, size_t n, const F& f) {
  const D d;
  for_each_frequency_pair(n, [&](size_t p, size_t partner, size_t index) HWY_ATTR {
    const FrequencyPair result = f(index, {x.get(d, p), x.get(d, partner)});
    if (partner != p) x.put(d, partner, result.mirror);
    x.put(d, p, result.at);
  });
}

// fft_apply_ifft for lengths of at least 2 * kFftBlock.
template <class F>
class FusedFft {
 public:
  // cache: a buffer of cached_length(n) positions.
  FusedFft(const Twiddles& t, Buffer cache, const F& f) : t_(t), cache_(cache), f_(f) {}

  // Transforms positions [0, m) of the spectrum, reading `from` and writing `to`; x is the memory in between if they do not fit into the
  // cache.
  template <bool half, class From, class To, class Memory>
  HWY_ATTR void run(const From& from, const To& to, Memory x, size_t m) const {
    if (m <= kMaxCachedLength) {
      forward_recursive<half, false>(from, cache_, m, t_);
      first_two_blocks(cache_);
      for (size_t k = 2 * kFftBlock; k < m; k *= 2) mirrored_blocks(cache_.from(k), cache_.from(k + k / 2), k / 2, k / 2 + 1);
      return inverse_recursive<half, false>(cache_, to, m, t_);
    }
    const size_t parts = split_count(m), q = m / parts;
    split<half>(from, x, m, t_);
    run<false>(x, x, x, q);
    second(x.from(q), q);
    for (size_t k = 2; k < parts; k *= 2) {
      for (size_t i = k; i < k + k / 2; ++i) mirrored(x.from(i * q), x.from((3 * k - 1 - i) * q), q, k * q / 2 + 1 + (i - k) * q);
    }
    merge<half>(x, to, m, t_);
  }

 private:
  // The same for positions [m, 2 m), which are x: one half of them mirrors the other.
  template <class Memory>
  HWY_ATTR void second(Memory x, size_t m) const {
    if (m <= kMaxCachedLength) {
      forward_recursive<false, false>(x, cache_, m, t_);
      mirrored_blocks(cache_, cache_.from(m / 2), m / 2, m / 2 + 1);
      return inverse_recursive<false, false>(cache_, x, m, t_);
    }
    const size_t parts = split_count(m), q = m / parts;
    split<false>(x, x, m, t_);
    for (size_t i = 0; i < parts / 2; ++i) mirrored(x.from(i * q), x.from((parts - 1 - i) * q), q, m / 2 + 1 + i * q);
    merge<false>(x, x, m, t_);
  }

  // The same for m positions x and the m positions that mirror them in reverse order. index: that of the first pair.
  template <class Memory>
  HWY_ATTR void mirrored(Memory x, Memory mirror, size_t m, size_t index) const {
    if (m <= kMaxCachedLength) {
      const Buffer mirror_cache = cache_.from(m);
      forward_recursive<false, false>(x, cache_, m, t_);
      forward_recursive<false, false>(mirror, mirror_cache, m, t_);
      mirrored_blocks(cache_, mirror_cache, m, index);
      inverse_recursive<false, false>(cache_, x, m, t_);
      return inverse_recursive<false, false>(mirror_cache, mirror, m, t_);
    }
    const size_t parts = split_count(m), q = m / parts;
    split<false>(x, x, m, t_);
    split<false>(mirror, mirror, m, t_);
    for (size_t i = 0; i < parts; ++i) mirrored(x.from(i * q), mirror.from((parts - 1 - i) * q), q, index + i * q);
    merge<false>(x, x, m, t_);
    merge<false>(mirror, mirror, m, t_);
  }

  HWY_INLINE void forward_block(Buffer block) const { forward_radix16_pass<false, true>(block, block, kFftBlock, t_); }
  HWY_INLINE void inverse_block(Buffer block) const { inverse_radix16_pass<false, true>(block, block, kFftBlock, t_); }

  // The partners of the first two blocks are in these blocks themselves.
  HWY_ATTR void first_two_blocks(Buffer x) const {
    forward_block(x);
    forward_block(x.from(kFftBlock));
    apply_to_frequency_pairs(x, 2 * kFftBlock, f_);
    inverse_block(x);
    inverse_block(x.from(kFftBlock));
  }

  // The passes inside blocks and f in one pass over the memory, one block and its mirror image at a time.
  HWY_ATTR void mirrored_blocks(Buffer x, Buffer mirror, size_t m, size_t index) const {
    const D d;
    for (size_t i = 0; i < m; i += kFftBlock, index += kFftBlock) {
      const Buffer block = x.from(i), mirrored_block = mirror.from(m - kFftBlock - i);
      forward_block(block);
      forward_block(mirrored_block);
      for (size_t p = 0; p < kFftBlock; ++p) {
        const FrequencyPair result = f_(index + p, {block.get(d, p), mirrored_block.get(d, kFftBlock - 1 - p)});
        block.put(d, p, result.at);
        mirrored_block.put(d, kFftBlock - 1 - p, result.mirror);
      }
      inverse_block(block);
      inverse_block(mirrored_block);
    }
  }

  const Twiddles& t_;
  Buffer cache_;
  const F& f_;
};

// The FFT of `from`, which has the lower half of the positions (the upper half is 0), then pair = f(index, pair) for every pair of
// frequencies (for the frequencies 0 and n / 2 the pair is the same value twice), then the inverse FFT, whose lower half goes to `to`. `to`
// may overwrite what `from` reads. cache: a buffer of cached_length(n) positions; memory: a Buffer or Bfloat16Buffer of n positions, unused
// unless n > kMaxCachedLength.
template <class From, class To, class Memory, class F>
HWY_ATTR inline void fft_apply_ifft(const From& from, const To& to, Buffer cache, Memory memory, const Twiddles& t, const F& f) {
  if (t.n >= 2 * kFftBlock) return FusedFft<F>(t, cache, f).template run<true>(from, to, memory, t.n);
  const D d;
  for (size_t p = 0; p < t.n / 2; ++p) cache.put(d, p, from.get(d, p));
  fft<true>(cache, t);
  apply_to_frequency_pairs(cache, t.n, f);
  ifft<true>(cache, t);
  for (size_t p = 0; p < t.n / 2; ++p) to.put(d, p, cache.get(d, p));
}

// Memory for a Buffer of n positions.
inline hwy::AlignedFreeUniquePtr<float[]> allocate_buffer(size_t n) { return hwy::AllocateAligned<float>(2 * n * hn::Lanes(D())); }

// Fills positions [from, to) with zeros.
HWY_INLINE void clear(Buffer x, size_t from, size_t to) {
  const V zero = hn::Zero(D());
  for (size_t p = from; p < to; ++p) x.put(D(), p, {zero, zero});
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
