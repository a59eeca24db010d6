// Loads and stores of float32 and bfloat16 rows as vectors of float. Included once a SIMD target, inside HWY_NAMESPACE's file:
// no include guard of the usual kind.
#if defined(M2BERT_OPS_KERNELS_SIMD_H) == defined(HWY_TARGET_TOGGLE)
#ifdef M2BERT_OPS_KERNELS_SIMD_H
#undef M2BERT_OPS_KERNELS_SIMD_H
#else
#define M2BERT_OPS_KERNELS_SIMD_H
#endif

#include <cstdint>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// bfloat16 is stored as uint16_t: the upper half of a float.
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
// Rounds to the nearest, ties to even. A NaN stays one: its payload has room.
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

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
