#pragma once
// Layer normalization and its gradient. Host memory only. T: float, or uint16_t for bfloat16. Every function is thread-safe.
#include <cstdint>

#include "m2bert/ops/backend/cpu/simd/blocked_matrix.h"

namespace m2bert::ops::cpu {

// y = (s - mean) / sqrt(variance + eps) * weight + bias for each row of s = x + residual. x, residual, y [rows, width]; residual may be
// null, and y may be x or residual.
template <class T>
void layer_norm_rows(const T* x, const T* residual, const float* weight, const float* bias, float eps, T* y, int64_t rows, int64_t width,
                     int threads);

// The gradients of sum(y * dy), in the shapes of what they belong to. ds is the gradient of x and of the residual alike.
template <class T>
void layer_norm_gradient(const T* x, const T* residual, const float* weight, float eps, const T* dy, T* ds, float* d_weight, float* d_bias,
                         int64_t rows, int64_t width, int threads);

struct LayerNormParams {
  const float *weight, *bias;  // [columns] each
  float eps;
};

// What turns a GEMM's result x into the layer's output: x * row_scale[block * row_scale_stride + row] * scale[column] + bias[column].
// Without int8, row_scale and scale are null, and only the bias is added.
struct BlockedDequantize {
  const float* row_scale = nullptr;
  int64_t row_scale_stride = 0;
  const float* scale = nullptr;  // [columns]
  const float* bias = nullptr;   // [columns], never null
};

// y = layer_norm(dequantize(x) + residual) for one tile on the calling thread. residual, y [rows, columns]; columns and x's blocks are
// multiples of 16; y may be residual. scratch: `columns` floats.
template <class T>
void layer_norm_tile(const BlockedMatrix<const float>& x, const BlockedDequantize& dequantize, const T* residual,
                     const LayerNormParams& norm, int rows, int columns, T* y, float* scratch);

}  // namespace m2bert::ops::cpu
