// The hash behind dropout's masks. Included once a SIMD target: no include guard of the usual kind.
#if defined(M2BERT_OPS_KERNELS_HASH_SIMD_H) == defined(HWY_TARGET_TOGGLE)
#ifdef M2BERT_OPS_KERNELS_HASH_SIMD_H
#undef M2BERT_OPS_KERNELS_HASH_SIMD_H
#else
#define M2BERT_OPS_KERNELS_HASH_SIMD_H
#endif

#include <cstdint>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The finalizer of MurmurHash3; ops::hash_mix (m2bert/ops/hash.h) is the same in MLX's operations.
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

// `scale`, or 0 where the hash of place j is below the threshold: hash_mix(j * step + first).
template <class D>
class HashedFactor {
 public:
  HashedFactor(uint32_t first, uint32_t step, uint32_t threshold, float scale)
      : first_(first), step_(step | 1), lanes_(hn::Mul(hn::Iota(DU(), 0), hn::Set(DU(), step_))), threshold_(threshold), scale_(scale) {}
  HWY_INLINE hn::Vec<D> operator()(D d, int j) const {
    const DU du;
    const hn::RebindToSigned<D> ds;
    const auto hashed = hash_mix(du, hn::Add(lanes_, hn::Set(du, uint32_t(j) * step_ + first_)));
    const auto top = hn::Set(du, 0x80000000u);  // unsigned comparison by the sign bit turned over
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

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
