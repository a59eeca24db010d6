// The hash that decides which values dropout drops. Highway code, included once per SIMD target, hence the unusual include guard.
#if defined(M2BERT_OPS_CPU_DROPOUT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef M2BERT_OPS_CPU_DROPOUT_INL_H
#undef M2BERT_OPS_CPU_DROPOUT_INL_H
#else
#define M2BERT_OPS_CPU_DROPOUT_INL_H
#endif

#include <cstdint>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The finalizer of MurmurHash3. ops::hash_mix (m2bert/ops/hash.h) is the same function in MLX operations.
inline uint32_t hash_mix(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}
template <class DU, class U = hn::Vec<DU>>
HWY_INLINE U hash_mix(DU du, U x) {
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<16>(x)), hn::Set(du, 0x85ebca6bu));
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<13>(x)), hn::Set(du, 0xc2b2ae35u));
  return hn::Xor(x, hn::ShiftRight<16>(x));
}

// What dropout multiplies value j by: `scale`, or 0 if hash_mix(j * step + first) is below the threshold. Returns it for the lanes j, j +
// 1,
// ...
template <class D>
class DropoutFactor {
 public:
  DropoutFactor(uint32_t first, uint32_t step, uint32_t threshold, float scale)
      : first_(first), step_(step | 1), lanes_(hn::Mul(hn::Iota(DU(), 0), hn::Set(DU(), step_))), threshold_(threshold), scale_(scale) {}
  HWY_INLINE hn::Vec<D> operator()(D d, int j) const {
    const DU du;
    const hn::RebindToSigned<D> ds;
    const auto hashed = hash_mix(du, hn::Add(lanes_, hn::Set(du, uint32_t(j) * step_ + first_)));
    const auto top = hn::Set(du, 0x80000000u);  // flipping the sign bit turns the signed comparison into an unsigned one
    const auto dropped = hn::Lt(hn::BitCast(ds, hn::Xor(hashed, top)), hn::BitCast(ds, hn::Xor(hn::Set(du, threshold_), top)));
    return hn::IfThenZeroElse(hn::RebindMask(d, dropped), hn::Set(d, scale_));
  }

 private:
  using DU = hn::RebindToUnsigned<D>;

  uint32_t first_, step_;
  hn::Vec<DU> lanes_;  // the step times 0, 1, 2, ...
  uint32_t threshold_;
  float scale_;
};

// x * factor, and 0 where the factor is 0 even if x is not finite.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V apply_dropout(D d, V x, V factor) {
  return hn::IfThenElseZero(hn::Ne(factor, hn::Zero(d)), hn::Mul(x, factor));
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
