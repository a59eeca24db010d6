#include "m2bert/ops/backend/cpu/simd/quantize_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/quantize_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <cmath>

#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"
#include "m2bert/ops/backend/cpu/simd/quantize_inl.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

template <class T>
void dequantize(const Dequantize& columns, int rows, int width, T* x) {
  const D d;
  for (int r = 0; r < rows; ++r, x += width) {
    const RowDequantize<D> value(columns, r);
    for (int c = 0; c < width; c += int(hn::Lanes(d))) store(value(load(d, x + c), c), d, x + c);
  }
}

template <int block, class T>
void quantize_rows(const T* x, int64_t x_stride, int rows, int width, int8_t* q, float* scale) {
  static thread_local Scratch memory;
  const D d;
  const hn::Rebind<int8_t, D> narrow;
  float* rotated = memory.of<float>(size_t(width));
  const Hadamard<D, block> hadamard;
  const float factor = 1 / std::sqrt(float(block));
  for (int r = 0; r < rows; ++r, x += x_stride, q += width) {
    V largest = hn::Zero(d), not_finite = hn::Zero(d);
    for (int c = 0; c < width; c += block) largest = hn::Max(largest, hadamard(x + c, rotated + c));
    for (int c = 0; c < width; c += int(hn::Lanes(d)))
      not_finite = hn::MulAdd(hn::LoadU(d, rotated + c), hn::Zero(d), not_finite);  // NaN where a value is NaN or infinite
    const float most = hn::GetLane(hn::MaxOfLanes(d, largest)), bad = hn::GetLane(hn::SumOfLanes(d, not_finite));
    scale[r] = most * factor / 127 + bad;
    const V inverse = hn::Set(d, most > 0 && bad == 0 ? 127 / most : 0.0f);
    for (int c = 0; c < width; c += int(hn::Lanes(d)))
      hn::StoreU(hn::DemoteTo(narrow, hn::NearestInt(hn::Mul(hn::LoadU(d, rotated + c), inverse))), narrow, q + c);
  }
}

template <class T>
void quantize(const T* x, int64_t x_stride, int rows, int width, int block, int8_t* q, float* scale) {
  switch (block) {
    case 64: return quantize_rows<64>(x, x_stride, rows, width, q, scale);
    case 32: return quantize_rows<32>(x, x_stride, rows, width, q, scale);
    default: return quantize_rows<16>(x, x_stride, rows, width, q, scale);
  }
}

void dequantize_float(const Dequantize& columns, int rows, int width, float* x) { dequantize(columns, rows, width, x); }
void dequantize_bfloat(const Dequantize& columns, int rows, int width, uint16_t* x) { dequantize(columns, rows, width, x); }
void quantize_float(const float* x, int64_t x_stride, int rows, int width, int block, int8_t* q, float* scale) {
  quantize(x, x_stride, rows, width, block, q, scale);
}
void quantize_bfloat(const uint16_t* x, int64_t x_stride, int rows, int width, int block, int8_t* q, float* scale) {
  quantize(x, x_stride, rows, width, block, q, scale);
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(dequantize_float);
HWY_EXPORT(dequantize_bfloat);
HWY_EXPORT(quantize_float);
HWY_EXPORT(quantize_bfloat);

template <>
void dequantize_tile(const Dequantize& columns, int rows, int width, float* x) {
  HWY_DYNAMIC_DISPATCH(dequantize_float)(columns, rows, width, x);
}
template <>
void dequantize_tile(const Dequantize& columns, int rows, int width, uint16_t* x) {
  HWY_DYNAMIC_DISPATCH(dequantize_bfloat)(columns, rows, width, x);
}
template <>
void quantize_tile(const float* x, int64_t x_stride, int rows, int width, int block, int8_t* q, float* scale) {
  HWY_DYNAMIC_DISPATCH(quantize_float)(x, x_stride, rows, width, block, q, scale);
}
template <>
void quantize_tile(const uint16_t* x, int64_t x_stride, int rows, int width, int block, int8_t* q, float* scale) {
  HWY_DYNAMIC_DISPATCH(quantize_bfloat)(x, x_stride, rows, width, block, q, scale);
}

}  // namespace m2bert::ops::cpu
#endif
