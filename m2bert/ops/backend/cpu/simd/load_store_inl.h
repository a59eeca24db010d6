// Loads and stores of float32 and bfloat16 values as vectors of float, and loops over rows of any width. bfloat16 is stored as uint16_t,
// the upper half of a float. Highway code, included once per SIMD target, hence the unusual include guard.
#if defined(M2BERT_OPS_CPU_LOAD_STORE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef M2BERT_OPS_CPU_LOAD_STORE_INL_H
#undef M2BERT_OPS_CPU_LOAD_STORE_INL_H
#else
#define M2BERT_OPS_CPU_LOAD_STORE_INL_H
#endif

#include <cstdint>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* at) {
  return hn::LoadU(d, at);
}
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const uint16_t* at) {
  const hn::Rebind<uint16_t, D> half;
  const hn::RebindToUnsigned<D> wide;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(wide, hn::LoadU(half, at))));
}
template <class D>
HWY_INLINE void store(hn::Vec<D> v, D d, float* at) {
  hn::StoreU(v, d, at);
}
// Rounds to nearest, ties to even. A NaN stays a NaN, but may change its payload.
template <class D>
HWY_INLINE void store(hn::Vec<D> v, D, uint16_t* at) {
  const hn::Rebind<uint16_t, D> half;
  const hn::RebindToUnsigned<D> wide;
  const hn::RebindToSigned<D> whole;
  const auto bits = hn::BitCast(wide, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(wide, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(wide, 0x7fff))));
  const auto nan = hn::RebindMask(wide, hn::IsNaN(v));
  const auto safe = hn::IfThenElse(nan, hn::Set(wide, 0x7fc0), rounded);
  hn::StoreU(hn::DemoteTo(half, hn::BitCast(whole, safe)), half, at);
}

// The first `count` lanes, fewer than a vector has: the others are loaded as 0 and not stored.
template <class D, class T>
HWY_INLINE hn::Vec<D> load_part(D d, const T* from, int64_t count) {
  T part[hn::MaxLanes(D())] = {};
  for (int64_t i = 0; i < count; ++i) part[i] = from[i];
  return load(d, part);
}
template <class D, class T>
HWY_INLINE void store_part(hn::Vec<D> v, D d, T* to, int64_t count) {
  T part[hn::MaxLanes(D())];
  store(v, d, part);
  for (int64_t i = 0; i < count; ++i) to[i] = part[i];
}

// Calls whole(i) for each full vector of a row, then part(i, count) for the rest, if any.
template <class D, class Whole, class Part>
HWY_INLINE void for_each_vector(D d, int64_t width, const Whole& whole, const Part& part) {
  const int64_t N = int64_t(hn::Lanes(d));
  int64_t i = 0;
  for (; i + N <= width; i += N) whole(i);
  if (i < width) part(i, width - i);
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
