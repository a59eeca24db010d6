#include "m2bert/ops/backend/cpu/simd/layer_norm_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/layer_norm_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <vector>

#include "m2bert/ops/backend/cpu/simd/layer_norm_inl.h"
#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

template <class T>
void norm_rows(const T* x, const T* residual, const LayerNormParams& norm, T* y, int64_t rows, int64_t width, int threads) {
#pragma omp parallel num_threads(threads)
  {
    const D d;
    std::vector<float> sum(static_cast<size_t>(width));
#pragma omp for schedule(static)
    for (int64_t r = 0; r < rows; ++r) {
      const V total = add_residual(d, x + r * width, residual ? residual + r * width : nullptr, width, sum.data());
      normalize_row(d, sum.data(), total, norm, width, y + r * width);
    }
  }
}

// Each thread sums its own rows' share of d_weight and d_bias; the shares are added in the order of the threads, so that a run is
// reproducible.
template <class T>
void gradient_rows(const T* x, const T* residual, const float* weight, float eps, const T* dy, T* ds, float* d_weight, float* d_bias,
                   int64_t rows, int64_t width, int threads) {
  const int64_t share = (rows + threads - 1) / threads;
  std::vector<float> sums(static_cast<size_t>(2 * width * threads));
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int i = 0; i < threads; ++i) {
    const D d;
    std::vector<float> memory(static_cast<size_t>(width));
    float* mine = sums.data() + 2 * width * i;
    const int64_t end = (i + 1) * share < rows ? (i + 1) * share : rows;
    for (int64_t r = i * share; r < end; ++r) {
      layer_norm_gradient_row(d, x + r * width, residual ? residual + r * width : nullptr, weight, eps, dy + r * width, ds + r * width,
                              width, memory.data(), mine, mine + width);
    }
  }
  for (int64_t c = 0; c < width; ++c) {
    d_weight[c] = d_bias[c] = 0;
    for (int64_t i = 0; i < threads; ++i) {
      d_weight[c] += sums[size_t(2 * width * i + c)];
      d_bias[c] += sums[size_t(2 * width * i + width + c)];
    }
  }
}

template <bool quantized, class T>
void norm_tile_rows(const BlockedMatrix<const float>& x, const BlockedDequantize& dequantize, const T* residual,
                    const LayerNormParams& norm, int rows, int columns, T* y, float* sum) {
  const D d;
  const int N = int(hn::Lanes(d));
  for (int r = 0; r < rows; ++r, residual += columns, y += columns) {
    V total = hn::Zero(d);
    for (int block = 0, first = 0; first < columns; ++block, first += x.block_width) {
      const float* from = x.data + block * x.block_stride + r * x.row_stride;
      const V row_scale = hn::Set(d, quantized ? dequantize.row_scale[block * dequantize.row_scale_stride + r] : 1.0f);
      for (int i = 0; i < x.block_width; i += N) {
        const int c = first + i;
        V s = hn::LoadU(d, from + i);
        if constexpr (quantized) s = hn::Mul(hn::Mul(s, row_scale), hn::LoadU(d, dequantize.scale + c));
        s = hn::Add(hn::Add(s, hn::LoadU(d, dequantize.bias + c)), load(d, residual + c));
        hn::StoreU(s, d, sum + c);
        total = hn::Add(total, s);
      }
    }
    normalize_row(d, sum, total, norm, columns, y);
  }
}

template <class T>
void norm_tile(const BlockedMatrix<const float>& x, const BlockedDequantize& dequantize, const T* residual, const LayerNormParams& norm,
               int rows, int columns, T* y, float* sum) {
  dequantize.scale ? norm_tile_rows<true>(x, dequantize, residual, norm, rows, columns, y, sum)
                   : norm_tile_rows<false>(x, dequantize, residual, norm, rows, columns, y, sum);
}

#define M2BERT_LAYER_NORM_FUNCTIONS(T, name)                                                                                          \
  void norm_rows_##name(const T* x, const T* residual, const LayerNormParams& norm, T* y, int64_t rows, int64_t width, int threads) { \
    norm_rows(x, residual, norm, y, rows, width, threads);                                                                            \
  }                                                                                                                                   \
  void gradient_rows_##name(const T* x, const T* residual, const float* weight, float eps, const T* dy, T* ds, float* d_weight,       \
                            float* d_bias, int64_t rows, int64_t width, int threads) {                                                \
    gradient_rows(x, residual, weight, eps, dy, ds, d_weight, d_bias, rows, width, threads);                                          \
  }                                                                                                                                   \
  void norm_tile_##name(const BlockedMatrix<const float>& x, const BlockedDequantize& dequantize, const T* residual,                  \
                        const LayerNormParams& norm, int rows, int columns, T* y, float* sum) {                                       \
    norm_tile(x, dequantize, residual, norm, rows, columns, y, sum);                                                                  \
  }
M2BERT_LAYER_NORM_FUNCTIONS(float, float)
M2BERT_LAYER_NORM_FUNCTIONS(uint16_t, bfloat)
#undef M2BERT_LAYER_NORM_FUNCTIONS

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

#define M2BERT_LAYER_NORM_EXPORTS(T, name)                                                                                     \
  HWY_EXPORT(norm_rows_##name);                                                                                                \
  HWY_EXPORT(gradient_rows_##name);                                                                                            \
  HWY_EXPORT(norm_tile_##name);                                                                                                \
  template <>                                                                                                                  \
  void layer_norm_rows(const T* x, const T* residual, const float* weight, const float* bias, float eps, T* y, int64_t rows,   \
                       int64_t width, int threads) {                                                                           \
    HWY_DYNAMIC_DISPATCH(norm_rows_##name)(x, residual, {weight, bias, eps}, y, rows, width, threads);                         \
  }                                                                                                                            \
  template <>                                                                                                                  \
  void layer_norm_gradient(const T* x, const T* residual, const float* weight, float eps, const T* dy, T* ds, float* d_weight, \
                           float* d_bias, int64_t rows, int64_t width, int threads) {                                          \
    HWY_DYNAMIC_DISPATCH(gradient_rows_##name)(x, residual, weight, eps, dy, ds, d_weight, d_bias, rows, width, threads);      \
  }                                                                                                                            \
  template <>                                                                                                                  \
  void layer_norm_tile(const BlockedMatrix<const float>& x, const BlockedDequantize& dequantize, const T* residual,            \
                       const LayerNormParams& norm, int rows, int columns, T* y, float* scratch) {                             \
    HWY_DYNAMIC_DISPATCH(norm_tile_##name)(x, dequantize, residual, norm, rows, columns, y, scratch);                          \
  }
M2BERT_LAYER_NORM_EXPORTS(float, float)
M2BERT_LAYER_NORM_EXPORTS(uint16_t, bfloat)

}  // namespace m2bert::ops::cpu
#endif
