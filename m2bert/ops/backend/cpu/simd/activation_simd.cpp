#include "m2bert/ops/backend/cpu/simd/activation_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/activation_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <type_traits>

#include "m2bert/ops/backend/cpu/simd/activation_inl.h"
#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"
#include "m2bert/ops/backend/cpu/simd/quantize_inl.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

constexpr int64_t kTaskValues = 4096;  // of a thread at a time

template <class F, class T>
void gelu_all(const T* x, T* y, int64_t n, int threads) {
  const D d;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t start = 0; start < n; start += kTaskValues) {
    const T* from = x + start;
    T* to = y + start;
    for_each_vector(
        d, n - start < kTaskValues ? n - start : kTaskValues,
        [&](int64_t i) { store(F::template value<false>(d, load(d, from + i)), d, to + i); },
        [&](int64_t i, int64_t count) { store_part(F::template value<false>(d, load_part(d, from + i, count)), d, to + i, count); });
  }
}

template <class F, class T>
void gelu_gradient_all(const T* x, const T* dy, T* dx, int64_t n, int threads) {
  const D d;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t start = 0; start < n; start += kTaskValues) {
    for_each_vector(
        d, n - start < kTaskValues ? n - start : kTaskValues,
        [&](int64_t i) {
          const V slope = F::template value_and_slope<false>(d, load(d, x + start + i)).slope;
          store(hn::Mul(load(d, dy + start + i), slope), d, dx + start + i);
        },
        [&](int64_t i, int64_t count) {
          const V slope = F::template value_and_slope<false>(d, load_part(d, x + start + i, count)).slope;
          store_part(hn::Mul(load_part(d, dy + start + i, count), slope), d, dx + start + i, count);
        });
  }
}

template <class T>
void gelu_gate_all(const T* x, T* y, int64_t rows, int64_t width, int threads) {
  const D d;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; ++r) {
    const T *value = x + 2 * r * width, *gate = value + width;
    T* to = y + r * width;
    for_each_vector(
        d, width, [&](int64_t i) { store(hn::Mul(gelu(d, load(d, value + i)), load(d, gate + i)), d, to + i); },
        [&](int64_t i, int64_t n) { store_part(hn::Mul(gelu(d, load_part(d, value + i, n)), load_part(d, gate + i, n)), d, to + i, n); });
  }
}

template <class T>
void gelu_gate_gradient_all(const T* x, const T* dy, T* dx, int64_t rows, int64_t width, int threads) {
  const D d;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; ++r) {
    const T *a = x + 2 * r * width, *gate = a + width, *cotangent = dy + r * width;
    T *da = dx + 2 * r * width, *d_gate = da + width;
    for_each_vector(
        d, width,
        [&](int64_t i) {
          const auto [value, slope] = gelu_with_slope(d, load(d, a + i));
          const V g = load(d, cotangent + i);
          store(hn::Mul(g, hn::Mul(slope, load(d, gate + i))), d, da + i);
          store(hn::Mul(g, value), d, d_gate + i);
        },
        [&](int64_t i, int64_t n) {
          const auto [value, slope] = gelu_with_slope(d, load_part(d, a + i, n));
          const V g = load_part(d, cotangent + i, n);
          store_part(hn::Mul(g, hn::Mul(slope, load_part(d, gate + i, n))), d, da + i, n);
          store_part(hn::Mul(g, value), d, d_gate + i, n);
        });
  }
}

template <class T>
void gelu_by(GeluApproximation approximation, const T* x, T* y, int64_t n, int threads) {
  approximation == GeluApproximation::none ? gelu_all<Gelu>(x, y, n, threads) : gelu_all<GeluTanh>(x, y, n, threads);
}
template <class T>
void gelu_gradient_by(GeluApproximation approximation, const T* x, const T* dy, T* dx, int64_t n, int threads) {
  approximation == GeluApproximation::none ? gelu_gradient_all<Gelu>(x, dy, dx, n, threads)
                                           : gelu_gradient_all<GeluTanh>(x, dy, dx, n, threads);
}

template <class F, bool quantized, bool gated, class T>
void activate_rows(const T* h, const Dequantize& h_columns, const T* gate, const Dequantize& gate_columns, int rows, int width, T* y,
                   int64_t y_stride) {
  const D d;
  constexpr bool coarse = !std::is_same_v<T, float>;
  for (int r = 0; r < rows; ++r, h += width, y += y_stride) {
    const RowDequantize<D> of_h(h_columns, r), of_gate(gate_columns, r);
    for (int c = 0; c < width; c += int(hn::Lanes(d))) {
      V x = load(d, h + c);
      if constexpr (quantized) x = of_h(x, c);
      x = F::template value<coarse>(d, x);
      if constexpr (gated) {
        V g = load(d, gate + c);
        if constexpr (quantized) g = of_gate(g, c);
        x = hn::Mul(x, g);
      }
      store(x, d, y + c);
    }
    if constexpr (gated) gate += width;
  }
}

template <class F, class T>
void activate_by(const T* h, const Dequantize& h_columns, const T* gate, const Dequantize& gate_columns, int rows, int width, T* y,
                 int64_t y_stride) {
  if (h_columns.scale) {
    gate ? activate_rows<F, true, true>(h, h_columns, gate, gate_columns, rows, width, y, y_stride)
         : activate_rows<F, true, false>(h, h_columns, gate, gate_columns, rows, width, y, y_stride);
  } else {
    gate ? activate_rows<F, false, true>(h, h_columns, gate, gate_columns, rows, width, y, y_stride)
         : activate_rows<F, false, false>(h, h_columns, gate, gate_columns, rows, width, y, y_stride);
  }
}

template <class T>
void activate(Activation activation, const T* h, const Dequantize& h_columns, const T* gate, const Dequantize& gate_columns, int rows,
              int width, T* y, int64_t y_stride) {
  switch (activation) {
    case Activation::gelu: return activate_by<Gelu>(h, h_columns, gate, gate_columns, rows, width, y, y_stride);
    case Activation::gelu_tanh: return activate_by<GeluTanh>(h, h_columns, gate, gate_columns, rows, width, y, y_stride);
    case Activation::relu: return activate_by<Relu>(h, h_columns, gate, gate_columns, rows, width, y, y_stride);
    case Activation::silu: return activate_by<Silu>(h, h_columns, gate, gate_columns, rows, width, y, y_stride);
    case Activation::tanh: break;  // CpuBackend::pack_feed_forward declines it
  }
}

#define M2BERT_ACTIVATION_FUNCTIONS(T, name)                                                                                          \
  void gelu_##name(GeluApproximation approximation, const T* x, T* y, int64_t n, int threads) {                                       \
    gelu_by(approximation, x, y, n, threads);                                                                                         \
  }                                                                                                                                   \
  void gelu_gradient_##name(GeluApproximation approximation, const T* x, const T* dy, T* dx, int64_t n, int threads) {                \
    gelu_gradient_by(approximation, x, dy, dx, n, threads);                                                                           \
  }                                                                                                                                   \
  void gate_##name(const T* x, T* y, int64_t rows, int64_t width, int threads) { gelu_gate_all(x, y, rows, width, threads); }         \
  void gate_gradient_##name(const T* x, const T* dy, T* dx, int64_t rows, int64_t width, int threads) {                               \
    gelu_gate_gradient_all(x, dy, dx, rows, width, threads);                                                                          \
  }                                                                                                                                   \
  void activate_##name(Activation activation, const T* h, const Dequantize& h_columns, const T* gate, const Dequantize& gate_columns, \
                       int rows, int width, T* y, int64_t y_stride) {                                                                 \
    activate(activation, h, h_columns, gate, gate_columns, rows, width, y, y_stride);                                                 \
  }
M2BERT_ACTIVATION_FUNCTIONS(float, float)
M2BERT_ACTIVATION_FUNCTIONS(uint16_t, bfloat)
#undef M2BERT_ACTIVATION_FUNCTIONS

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

#define M2BERT_ACTIVATION_EXPORTS(T, name)                                                                                          \
  HWY_EXPORT(gelu_##name);                                                                                                          \
  HWY_EXPORT(gelu_gradient_##name);                                                                                                 \
  HWY_EXPORT(gate_##name);                                                                                                          \
  HWY_EXPORT(gate_gradient_##name);                                                                                                 \
  HWY_EXPORT(activate_##name);                                                                                                      \
  template <>                                                                                                                       \
  void gelu_values(const T* x, T* y, int64_t n, GeluApproximation approximation, int threads) {                                     \
    HWY_DYNAMIC_DISPATCH(gelu_##name)(approximation, x, y, n, threads);                                                             \
  }                                                                                                                                 \
  template <>                                                                                                                       \
  void gelu_gradient(const T* x, const T* dy, T* dx, int64_t n, GeluApproximation approximation, int threads) {                     \
    HWY_DYNAMIC_DISPATCH(gelu_gradient_##name)(approximation, x, dy, dx, n, threads);                                               \
  }                                                                                                                                 \
  template <>                                                                                                                       \
  void gelu_gate_rows(const T* x, T* y, int64_t rows, int64_t width, int threads) {                                                 \
    HWY_DYNAMIC_DISPATCH(gate_##name)(x, y, rows, width, threads);                                                                  \
  }                                                                                                                                 \
  template <>                                                                                                                       \
  void gelu_gate_gradient(const T* x, const T* dy, T* dx, int64_t rows, int64_t width, int threads) {                               \
    HWY_DYNAMIC_DISPATCH(gate_gradient_##name)(x, dy, dx, rows, width, threads);                                                    \
  }                                                                                                                                 \
  template <>                                                                                                                       \
  void activate_tile(Activation activation, const T* h, const Dequantize& h_columns, const T* gate, const Dequantize& gate_columns, \
                     int rows, int width, T* y, int64_t y_stride) {                                                                 \
    HWY_DYNAMIC_DISPATCH(activate_##name)(activation, h, h_columns, gate, gate_columns, rows, width, y, y_stride);                  \
  }
M2BERT_ACTIVATION_EXPORTS(float, float)
M2BERT_ACTIVATION_EXPORTS(uint16_t, bfloat)

}  // namespace m2bert::ops::cpu
#endif
