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

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include "m2bert/ops/backend/cpu/simd/fft.h"
#include "m2bert/ops/backend/cpu/simd/simd.h"

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
  Buffer from(size_t p) const { return {at + 2 * p * lanes, lanes}; }
};

// The same in half the memory: real and imaginary parts rounded to bfloat16, side by side in 32 bits.
struct RoundedBuffer {
  uint32_t* at;
  size_t lanes;
  HWY_INLINE Complex get(D d, size_t p) const { return unpack(d, at + p * lanes); }
  HWY_INLINE void put(D d, size_t p, Complex c) const { pack(c, d, at + p * lanes); }
  RoundedBuffer from(size_t p) const { return {at + p * lanes, lanes}; }

  static HWY_INLINE Complex unpack(D d, const uint32_t* from) {
    const hn::RebindToUnsigned<D> bits;
    const auto both = hn::LoadU(bits, from);
    return {hn::BitCast(d, hn::ShiftLeft<16>(both)), hn::BitCast(d, hn::And(both, hn::Set(bits, 0xffff0000)))};
  }
  static HWY_INLINE void pack(Complex c, D, uint32_t* to) {
    const hn::RebindToUnsigned<D> bits;
    // Half a unit of what is kept is added; a NaN, whose payload might carry, becomes the usual one.
    auto rounded = [&](V v) {
      const auto nan = hn::RebindMask(bits, hn::IsNaN(v));
      return hn::IfThenElse(nan, hn::Set(bits, 0x7fc00000), hn::Add(hn::BitCast(bits, v), hn::Set(bits, 0x8000)));
    };
    hn::StoreU(hn::Or(hn::ShiftRight<16>(rounded(c.re)), hn::And(rounded(c.im), hn::Set(bits, 0xffff0000))), bits, to);
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

// Positions p, p + q, p + 2 q, p + 3 q; of the first `count` of them. A pass reads from whatever has Buffer's get, and writes to whatever
// has its put; both may be the same memory.
template <int count = 4, class From>
HWY_INLINE Four get_four(const From& x, size_t p, size_t q) {
  const D d;
  Four four{};
  for (size_t i = 0; i < count; ++i) four.v[i] = x.get(d, p + i * q);
  return four;
}
template <int count = 4, class To>
HWY_INLINE void put_four(const To& x, size_t p, size_t q, const Four& four) {
  const D d;
  for (size_t i = 0; i < count; ++i) x.put(d, p + i * q, four.v[i]);
}

// One step on positions [0, m).
template <bool upper_half_zero, class From, class To>
HWY_INLINE void forward_pass(const From& from, const To& to, size_t m, const float* w) {
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6)
    put_four(to, j, q, forward_step<upper_half_zero>(get_four<upper_half_zero ? 2 : 4>(from, j, q), w));
}
template <bool lower_half_only, class From, class To>
HWY_INLINE void inverse_pass(const From& from, const To& to, size_t m, const float* w) {
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6) put_four<lower_half_only ? 2 : 4>(to, j, q, inverse_step(get_four(from, j, q), w));
}

// Two steps in one pass over the memory, those of size m and of size m / 4: sixteen values, an m / 16 apart, are worked on together. A
// quarter of size 4 has the root 1 (last_of_four).
template <bool upper_half_zero, bool last_of_four, class From, class To>
HWY_INLINE void forward_double_pass(const From& from, const To& to, size_t m, const Twiddles& t) {
  const size_t q = m / 4, r = m / 16;
  const float *outer = t.of(m), *inner = last_of_four ? nullptr : t.of(q);
  for (size_t j = 0; j < r; ++j) {
    Four quarter[4];  // [place in its quarter]: of each quarter one value
    for (size_t k = 0; k < 4; ++k)
      quarter[k] = forward_step<upper_half_zero>(get_four<upper_half_zero ? 2 : 4>(from, j + k * r, q), outer + 6 * (j + k * r));
    for (size_t i = 0; i < 4; ++i) {
      const Four of_quarter{{quarter[0].v[i], quarter[1].v[i], quarter[2].v[i], quarter[3].v[i]}};
      put_four(to, j + i * q, r, last_of_four ? forward_step(of_quarter) : forward_step<false>(of_quarter, inner + 6 * j));
    }
  }
}
template <bool lower_half_only, bool first_of_four, class From, class To>
HWY_INLINE void inverse_double_pass(const From& from, const To& to, size_t m, const Twiddles& t) {
  const size_t q = m / 4, r = m / 16;
  const float *outer = t.of(m), *inner = first_of_four ? nullptr : t.of(q);
  for (size_t j = 0; j < r; ++j) {
    Four quarter[4];  // [quarter]
    for (size_t i = 0; i < 4; ++i) {
      const Four four = get_four(from, j + i * q, r);
      quarter[i] = first_of_four ? inverse_step(four) : inverse_step(four, inner + 6 * j);
    }
    for (size_t k = 0; k < 4; ++k) {
      const Four across{{quarter[0].v[k], quarter[1].v[k], quarter[2].v[k], quarter[3].v[k]}};
      put_four<lower_half_only ? 2 : 4>(to, j + k * r, q, inverse_step(across, outer + 6 * (j + k * r)));
    }
  }
}

HWY_INLINE void butterfly(Buffer x, size_t start) {
  const D d;
  const Complex a = x.get(d, start), b = x.get(d, start + 1);
  x.put(d, start, add(a, b));
  x.put(d, start + 1, sub(a, b));
}

// One radix-2 step on positions [0, m); w: w^j of each j < m / 4 at w[6 j].
template <bool upper_half_zero, class From, class To>
HWY_INLINE void forward_halving(const From& from, const To& to, size_t m, const float* w) {
  const D d;
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6) {
    const Four a = get_four<upper_half_zero ? 2 : 4>(from, j, q);
    Complex even0 = a.v[0], even1 = a.v[1], odd0 = a.v[0], odd1 = times_minus_i(a.v[1]);
    if constexpr (!upper_half_zero) {
      even0 = add(a.v[0], a.v[2]);
      even1 = add(a.v[1], a.v[3]);
      odd0 = sub(a.v[0], a.v[2]);
      odd1 = times_minus_i(sub(a.v[1], a.v[3]));
    }
    const V re = hn::Set(d, w[0]), im = hn::Set(d, w[1]);
    put_four(to, j, q, {{even0, even1, mul(odd0, re, im), mul(odd1, re, im)}});
  }
}
template <bool lower_half_only, class From, class To>
HWY_INLINE void inverse_halving(const From& from, const To& to, size_t m, const float* w) {
  const D d;
  const size_t q = m / 4;
  for (size_t j = 0; j < q; ++j, w += 6) {
    const Four c = get_four(from, j, q);
    const V re = hn::Set(d, w[0]), im = hn::Set(d, w[1]);
    const Complex odd0 = mul_conj(c.v[2], re, im), odd1 = times_i(mul_conj(c.v[3], re, im));
    put_four<lower_half_only ? 2 : 4>(to, j, q, {{add(c.v[0], odd0), add(c.v[1], odd1), sub(c.v[0], odd0), sub(c.v[1], odd1)}});
  }
}

// Transforms end in blocks of this many positions, each two steps by itself.
inline constexpr size_t kBlock = 16;

// Into how many parts a step cuts a transform of size m > kBlock, so that all end in blocks: 2, 4, or by a double pass 16.
HWY_INLINE size_t parts_of(size_t m) {
  const int levels = std::countr_zero(m) - std::countr_zero(kBlock);
  return levels % 2 == 1 ? 2 : levels % 4 == 2 ? 4 : 16;
}

// The step that cuts positions [0, m) into parts_of(m) transforms, and the one that joins what came back of them. half: positions from
// m / 2 on count as 0, or are not wanted.
template <bool half, class From, class To>
HWY_ATTR inline void cut(const From& from, const To& to, size_t m, const Twiddles& t) {
  const size_t parts = parts_of(m);
  if (parts == 2) return forward_halving<half>(from, to, m, t.of(m));
  if (parts == 4) return forward_pass<half>(from, to, m, t.of(m));
  forward_double_pass<half, false>(from, to, m, t);
}
template <bool half, class From, class To>
HWY_ATTR inline void join(const From& from, const To& to, size_t m, const Twiddles& t) {
  const size_t parts = parts_of(m);
  if (parts == 2) return inverse_halving<half>(from, to, m, t.of(m));
  if (parts == 4) return inverse_pass<half>(from, to, m, t.of(m));
  inverse_double_pass<half, false>(from, to, m, t);
}

// All steps of positions [0, m), inside x after the first and before the last one. blocks: those of the blocks, too.
template <bool half, bool blocks, class From>
HWY_ATTR inline void forward_parts(const From& from, Buffer x, size_t m, const Twiddles& t) {
  if (m == kBlock) {
    if constexpr (blocks) forward_double_pass<half, true>(from, x, m, t);
    return;
  }
  cut<half>(from, x, m, t);
  const size_t parts = parts_of(m), q = m / parts;
  for (size_t i = 0; i < parts; ++i) forward_parts<false, blocks>(x.from(i * q), x.from(i * q), q, t);
}
template <bool half, bool blocks, class To>
HWY_ATTR inline void inverse_parts(Buffer x, const To& to, size_t m, const Twiddles& t) {
  if (m == kBlock) {
    if constexpr (blocks) inverse_double_pass<half, true>(x, to, m, t);
    return;
  }
  const size_t parts = parts_of(m), q = m / parts;
  for (size_t i = 0; i < parts; ++i) inverse_parts<false, blocks>(x.from(i * q), x.from(i * q), q, t);
  join<half>(x, to, m, t);
}

template <bool half = false>
HWY_ATTR inline void forward(Buffer x, const Twiddles& t) {
  if (t.n >= kBlock) return forward_parts<half, true>(x, x, t.n, t);
  if (t.n == 8) {
    forward_pass<half>(x, x, 8, t.of(8));
    for (size_t i = 0; i < 4; ++i) butterfly(x, 2 * i);
  } else {
    put_four(x, 0, 1, half ? forward_step<true>(get_four<2>(x, 0, 1), t.of(4)) : forward_step(get_four(x, 0, 1)));
  }
}

template <bool half = false>
HWY_ATTR inline void inverse(Buffer x, const Twiddles& t) {
  if (t.n >= kBlock) return inverse_parts<half, true>(x, x, t.n, t);
  if (t.n == 8) {
    for (size_t i = 0; i < 4; ++i) butterfly(x, 2 * i);
    inverse_pass<half>(x, x, 8, t.of(8));
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

// Parts of at most this many positions are transformed in the cache: two of them take 1 MiB with 16 lanes.
inline constexpr size_t kMostCached = 4096;
inline size_t cached_positions(size_t n) { return std::min(n, 2 * kMostCached); }

// Values at two frequencies f and -f.
struct Pair {
  Complex at, mirror;
};

// f as below, on all pairs of frequencies that positions [0, n) hold.
template <class F>
HWY_ATTR HWY_INLINE void apply_to_pairs(Buffer x, size_t n, const F& f) {
  const D d;
  for_pairs(n, [&](size_t p, size_t partner, size_t index) HWY_ATTR {
    const Pair made = f(index, {x.get(d, p), x.get(d, partner)});
    if (partner != p) x.put(d, partner, made.mirror);
    x.put(d, p, made.at);
  });
}

// A forward transform, a function of each pair of frequencies, and the transform back, as transform_and_back says.
// f(index, pair) gives the pair's new values.
template <class F>
class ThereAndBack {
 public:
  // cache: for cached_positions(n) positions.
  ThereAndBack(const Twiddles& t, Buffer cache, const F& f) : t_(t), cache_(cache), f_(f) {}

  // Positions [0, m) of the transform, from `from` and to `to`, by way of the memory x where they are too many for the cache.
  template <bool half, class From, class To, class Memory>
  HWY_ATTR void first(const From& from, const To& to, Memory x, size_t m) const {
    if (m <= kMostCached) {
      forward_parts<half, false>(from, cache_, m, t_);
      first_blocks(cache_);
      for (size_t k = 2 * kBlock; k < m; k *= 2) mirrored_blocks(cache_.from(k), cache_.from(k + k / 2), k / 2, k / 2 + 1);
      return inverse_parts<half, false>(cache_, to, m, t_);
    }
    const size_t parts = parts_of(m), q = m / parts;
    cut<half>(from, x, m, t_);
    first<false>(x, x, x, q);
    second(x.from(q), q);
    for (size_t k = 2; k < parts; k *= 2) {
      for (size_t i = k; i < k + k / 2; ++i) mirrored(x.from(i * q), x.from((3 * k - 1 - i) * q), q, k * q / 2 + 1 + (i - k) * q);
    }
    join<half>(x, to, m, t_);
  }

 private:
  // Positions [m, 2 m), which are x: one half mirrors the other.
  template <class Memory>
  HWY_ATTR void second(Memory x, size_t m) const {
    if (m <= kMostCached) {
      forward_parts<false, false>(x, cache_, m, t_);
      mirrored_blocks(cache_, cache_.from(m / 2), m / 2, m / 2 + 1);
      return inverse_parts<false, false>(cache_, x, m, t_);
    }
    const size_t parts = parts_of(m), q = m / parts;
    cut<false>(x, x, m, t_);
    for (size_t i = 0; i < parts / 2; ++i) mirrored(x.from(i * q), x.from((parts - 1 - i) * q), q, m / 2 + 1 + i * q);
    join<false>(x, x, m, t_);
  }

  // m positions and those that mirror them, from the end back. index: of the first pair.
  template <class Memory>
  HWY_ATTR void mirrored(Memory x, Memory mirror, size_t m, size_t index) const {
    if (m <= kMostCached) {
      const Buffer behind = cache_.from(m);
      forward_parts<false, false>(x, cache_, m, t_);
      forward_parts<false, false>(mirror, behind, m, t_);
      mirrored_blocks(cache_, behind, m, index);
      inverse_parts<false, false>(cache_, x, m, t_);
      return inverse_parts<false, false>(behind, mirror, m, t_);
    }
    const size_t parts = parts_of(m), q = m / parts;
    cut<false>(x, x, m, t_);
    cut<false>(mirror, mirror, m, t_);
    for (size_t i = 0; i < parts; ++i) mirrored(x.from(i * q), mirror.from((parts - 1 - i) * q), q, index + i * q);
    join<false>(x, x, m, t_);
    join<false>(mirror, mirror, m, t_);
  }

  HWY_INLINE void there(Buffer block) const { forward_double_pass<false, true>(block, block, kBlock, t_); }
  HWY_INLINE void back(Buffer block) const { inverse_double_pass<false, true>(block, block, kBlock, t_); }

  // The first two blocks have their pairs inside them.
  HWY_ATTR void first_blocks(Buffer x) const {
    there(x);
    there(x.from(kBlock));
    apply_to_pairs(x, 2 * kBlock, f_);
    back(x);
    back(x.from(kBlock));
  }

  // The steps inside blocks and f in one pass over the memory: a block and its mirror image at a time.
  HWY_ATTR void mirrored_blocks(Buffer x, Buffer mirror, size_t m, size_t index) const {
    const D d;
    for (size_t i = 0; i < m; i += kBlock, index += kBlock) {
      const Buffer block = x.from(i), mirrored_block = mirror.from(m - kBlock - i);
      there(block);
      there(mirrored_block);
      for (size_t p = 0; p < kBlock; ++p) {
        const Pair made = f_(index + p, {block.get(d, p), mirrored_block.get(d, kBlock - 1 - p)});
        block.put(d, p, made.at);
        mirrored_block.put(d, kBlock - 1 - p, made.mirror);
      }
      back(block);
      back(mirrored_block);
    }
  }

  const Twiddles& t_;
  Buffer cache_;
  const F& f_;
};

// Forward transform of what `from` gives for the lower half, f of every pair of frequencies (of the frequencies 0 and n / 2, the pair is
// twice the same value), inverse transform whose lower half goes to `to`, which may overwrite what `from` reads. cache: a buffer of
// cached_positions(n) positions; memory: like a buffer, of n positions where n > kMostCached.
template <class From, class To, class Memory, class F>
HWY_ATTR inline void transform_and_back(const From& from, const To& to, Buffer cache, Memory memory, const Twiddles& t, const F& f) {
  if (t.n >= 2 * kBlock) return ThereAndBack<F>(t, cache, f).template first<true>(from, to, memory, t.n);
  const D d;
  for (size_t p = 0; p < t.n / 2; ++p) cache.put(d, p, from.get(d, p));
  forward<true>(cache, t);
  apply_to_pairs(cache, t.n, f);
  inverse<true>(cache, t);
  for (size_t p = 0; p < t.n / 2; ++p) to.put(d, p, cache.get(d, p));
}

inline hwy::AlignedFreeUniquePtr<float[]> working_memory(size_t n) { return hwy::AllocateAligned<float>(2 * n * hn::Lanes(D())); }

// Fills positions [from, to) with zeros.
HWY_INLINE void clear(Buffer x, size_t from, size_t to) {
  const V zero = hn::Zero(D());
  for (size_t p = from; p < to; ++p) x.put(D(), p, {zero, zero});
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
