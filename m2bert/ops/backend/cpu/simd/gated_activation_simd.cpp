#include "m2bert/ops/backend/cpu/simd/gated_activation_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/gated_activation_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <type_traits>

#include "m2bert/ops/backend/cpu/simd/activation_inl.h"
#include "m2bert/ops/backend/cpu/simd/dropout_inl.h"
#include "m2bert/ops/backend/cpu/simd/dropout_simd.h"
#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

// Calls f(c, factor) for each vector of a row; factor is what dropout multiplies it by. A vector never lies in two of dropout's lines.
template <class F>
HWY_INLINE void for_each_with_dropout(const TileDropout& dropout, int64_t row, int width, const F& f) {
  const D d;
  const int N = int(hn::Lanes(d));
  int64_t place = row * dropout.columns + dropout.first;
  for (int c = 0; c < width;) {
    const int64_t line = place / kDropoutLine;
    const int j = int(place - line * kDropoutLine), end = width - c < kDropoutLine - j ? width : c + kDropoutLine - j;
    const DropoutFactor<D> factor(hash_mix(dropout.key[0] + uint32_t(line)), hash_mix(dropout.key[1] + uint32_t(line)), dropout.threshold,
                                  dropout.scale);
    place += end - c;
    for (const int from = c; c < end; c += N) f(c, factor(d, j + c - from));
  }
}
template <class F>
HWY_INLINE void for_each_without_dropout(int width, const F& f) {
  const D d;
  for (int c = 0; c < width; c += int(hn::Lanes(d))) f(c, hn::Set(d, 1.0f));
}

template <class F, bool gated, class T>
void forward_rows(const GateTile<const T>& h, const TileDropout& dropout, int64_t rows, int width, T* a, int threads) {
  constexpr bool coarse = !std::is_same_v<T, float>;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; ++r) {
    const D d;
    const T *value = h.value + r * h.stride, *gate = gated ? h.gate + r * h.stride : nullptr;
    T* to = a + r * width;
    auto at = [&](int c) HWY_ATTR {
      const V x = F::template value<coarse>(d, load(d, value + c));
      return gated ? hn::Mul(x, load(d, gate + c)) : x;
    };
    if (dropout.threshold) {
      for_each_with_dropout(dropout, r, width, [&](int c, V factor) HWY_ATTR { store(apply_dropout(D(), at(c), factor), d, to + c); });
    } else {
      for_each_without_dropout(width, [&](int c, V) HWY_ATTR { store(at(c), d, to + c); });
    }
  }
}

template <class F, bool gated, class T>
void backward_rows(const GateTile<const T>& h, const TileDropout& dropout, const T* da, int64_t rows, int width, T* a,
                   const GateTile<T>& dh, int threads) {
  constexpr bool coarse = !std::is_same_v<T, float>;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; ++r) {
    const D d;
    const T *value = h.value + r * h.stride, *gate = gated ? h.gate + r * h.stride : nullptr, *from = da + r * width;
    T *d_value = dh.value + r * dh.stride, *d_gate = gated ? dh.gate + r * dh.stride : nullptr, *to = a + r * width;
    auto at = [&](int c, auto&& dropped) HWY_ATTR {
      const auto x = F::template value_and_slope<coarse>(d, load(d, value + c));
      const V dy = dropped(load(d, from + c));
      if constexpr (gated) {
        const V g = load(d, gate + c);
        store(dropped(hn::Mul(x.value, g)), d, to + c);
        store(hn::Mul(dy, hn::Mul(x.slope, g)), d, d_value + c);
        store(hn::Mul(dy, x.value), d, d_gate + c);
      } else {
        store(dropped(x.value), d, to + c);
        store(hn::Mul(dy, x.slope), d, d_value + c);
      }
    };
    if (dropout.threshold) {
      for_each_with_dropout(dropout, r, width,
                            [&](int c, V factor) HWY_ATTR { at(c, [factor](V x) HWY_ATTR { return apply_dropout(D(), x, factor); }); });
    } else {
      for_each_without_dropout(width, [&](int c, V) HWY_ATTR { at(c, [](V x) { return x; }); });
    }
  }
}

template <class F, class T>
void forward_by(const GateTile<const T>& h, const TileDropout& dropout, int64_t rows, int width, T* a, int threads) {
  h.gate ? forward_rows<F, true>(h, dropout, rows, width, a, threads) : forward_rows<F, false>(h, dropout, rows, width, a, threads);
}
template <class F, class T>
void backward_by(const GateTile<const T>& h, const TileDropout& dropout, const T* da, int64_t rows, int width, T* a, const GateTile<T>& dh,
                 int threads) {
  h.gate ? backward_rows<F, true>(h, dropout, da, rows, width, a, dh, threads)
         : backward_rows<F, false>(h, dropout, da, rows, width, a, dh, threads);
}

#define M2BERT_GATED_ACTIVATION_FUNCTIONS(T, name)                                                                                  \
  void forward_##name(Activation activation, const GateTile<const T>& h, const TileDropout& dropout, int64_t rows, int width, T* a, \
                      int threads) {                                                                                                \
    activation == Activation::gelu ? forward_by<Gelu>(h, dropout, rows, width, a, threads)                                          \
                                   : forward_by<GeluTanh>(h, dropout, rows, width, a, threads);                                     \
  }                                                                                                                                 \
  void backward_##name(Activation activation, const GateTile<const T>& h, const TileDropout& dropout, const T* da, int64_t rows,    \
                       int width, T* a, const GateTile<T>& dh, int threads) {                                                       \
    activation == Activation::gelu ? backward_by<Gelu>(h, dropout, da, rows, width, a, dh, threads)                                 \
                                   : backward_by<GeluTanh>(h, dropout, da, rows, width, a, dh, threads);                            \
  }
M2BERT_GATED_ACTIVATION_FUNCTIONS(float, float)
M2BERT_GATED_ACTIVATION_FUNCTIONS(uint16_t, bfloat)
#undef M2BERT_GATED_ACTIVATION_FUNCTIONS

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(forward_float);
HWY_EXPORT(forward_bfloat);
HWY_EXPORT(backward_float);
HWY_EXPORT(backward_bfloat);

template <>
void gated_activation_forward(Activation activation, const GateTile<const float>& h, const TileDropout& dropout, int64_t rows, int width,
                              float* a, int threads) {
  HWY_DYNAMIC_DISPATCH(forward_float)(activation, h, dropout, rows, width, a, threads);
}
template <>
void gated_activation_forward(Activation activation, const GateTile<const uint16_t>& h, const TileDropout& dropout, int64_t rows, int width,
                              uint16_t* a, int threads) {
  HWY_DYNAMIC_DISPATCH(forward_bfloat)(activation, h, dropout, rows, width, a, threads);
}
template <>
void gated_activation_backward(Activation activation, const GateTile<const float>& h, const TileDropout& dropout, const float* da,
                               int64_t rows, int width, float* a, const GateTile<float>& dh, int threads) {
  HWY_DYNAMIC_DISPATCH(backward_float)(activation, h, dropout, da, rows, width, a, dh, threads);
}
template <>
void gated_activation_backward(Activation activation, const GateTile<const uint16_t>& h, const TileDropout& dropout, const uint16_t* da,
                               int64_t rows, int width, uint16_t* a, const GateTile<uint16_t>& dh, int threads) {
  HWY_DYNAMIC_DISPATCH(backward_bfloat)(activation, h, dropout, da, rows, width, a, dh, threads);
}

}  // namespace m2bert::ops::cpu
#endif
