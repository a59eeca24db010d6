// int8 on vectors: dequantizing columns, and the Hadamard transform that goes before rounding (m2bert/ops/quantized.h). Highway code,
// included once per SIMD target, hence the unusual include guard.
#if defined(M2BERT_OPS_CPU_QUANTIZE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef M2BERT_OPS_CPU_QUANTIZE_INL_H
#undef M2BERT_OPS_CPU_QUANTIZE_INL_H
#else
#define M2BERT_OPS_CPU_QUANTIZE_INL_H
#endif

#include <cstdint>

#include <hwy/highway.h>

#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"
#include "m2bert/ops/backend/cpu/simd/quantize_simd.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Dequantizes values of row r: x * row_scale[r] * scale[c] + bias[c] for the vector at column c.
template <class D>
struct RowDequantize {
  RowDequantize(const Dequantize& all, int r)
      : row(hn::Set(D(), all.row_scale ? all.row_scale[r] : 1.0f)), scale(all.scale), bias(all.bias) {}
  HWY_INLINE hn::Vec<D> operator()(hn::Vec<D> x, int c) const {
    const D d;
    const auto y = hn::Mul(hn::Mul(x, row), hn::LoadU(d, scale + c));
    return bias ? hn::Add(y, hn::LoadU(d, bias + c)) : y;
  }
  hn::Vec<D> row;
  const float *scale, *bias;
};

// One butterfly of the Hadamard transform inside a vector: lanes whose index differs by `step` are added and subtracted.
template <class D>
struct HadamardButterfly {
  explicit HadamardButterfly(int step) {
    const D d;
    HWY_ALIGN int32_t partner[16];
    HWY_ALIGN float signs[16];
    for (int i = 0; i < int(hn::Lanes(d)); ++i) {
      partner[i] = i ^ step;
      signs[i] = (i & step) ? -1.0f : 1.0f;
    }
    swap = hn::SetTableIndices(d, partner);
    sign = hn::Load(d, signs);
  }
  HWY_INLINE hn::Vec<D> operator()(hn::Vec<D> x) const { return hn::MulAdd(x, sign, hn::TableLookupLanes(x, swap)); }

  decltype(hn::SetTableIndices(D(), static_cast<const int32_t*>(nullptr))) swap;
  hn::Vec<D> sign;
};

// The Hadamard transform, without its factor 1 / sqrt(block), of the `block` values from x on, to y, which may be x.
template <class D, int block>
class Hadamard {
 public:
  // Returns the largest absolute value of the result, spread over the lanes.
  template <class T>
  HWY_INLINE hn::Vec<D> operator()(const T* x, float* y) const {
    const D d;
    constexpr int N = hn::MaxLanes(D()), count = block / N;
    hn::Vec<D> v[count];
    for (int i = 0; i < count; ++i) v[i] = load(d, x + i * N);
    for (int step = 1; step < count; step *= 2) {
      for (int i = 0; i < count; ++i) {
        if (i & step) continue;
        const auto a = v[i], b = v[i + step];
        v[i] = hn::Add(a, b);
        v[i + step] = hn::Sub(a, b);
      }
    }
    auto largest = hn::Zero(d);
    for (int i = 0; i < count; ++i) {
      for (int step = 1, b = 0; step < N; step *= 2, ++b) v[i] = butterflies_[b](v[i]);
      largest = hn::Max(largest, hn::Abs(v[i]));
      hn::StoreU(v[i], d, y + i * N);
    }
    return largest;
  }

 private:
  using Butterfly = HadamardButterfly<D>;
  Butterfly butterflies_[4] = {Butterfly(1), Butterfly(2), Butterfly(4), Butterfly(8)};
};

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
