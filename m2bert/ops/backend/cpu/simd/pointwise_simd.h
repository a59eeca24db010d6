#pragma once
// Row-wise loops of the model on the CPU: host memory only, no MLX. T: float, or uint16_t for bfloat16.
#include <cstddef>
#include <cstdint>

namespace m2bert::ops::cpu {

// gelu by the error function, or its approximation by tanh.
enum class GeluCurve { erf, tanh };

// y[i] = gelu(x[i]) for n values.
template <class T>
void gelu_values(const T* x, T* y, int64_t n, GeluCurve curve, int threads);

// y[r, i] = gelu(x[r, i]) * x[r, width + i]; x [rows, 2 width], y [rows, width].
template <class T>
void gelu_gate_rows(const T* x, T* y, int64_t rows, int64_t width, int threads);

// y = (s - mean) / sqrt(var + eps) * weight + bias a row, s = x + residual; residual may be null. x, residual, y [rows, width].
template <class T>
void layer_norm_rows(const T* x, const T* residual, const float* weight, const float* bias, float eps, T* y, int64_t rows, int64_t width,
                     int threads);

// y[i] = x[i] in the other type, n values. A NaN may change its bits.
void cast_values(const float* x, int64_t n, uint16_t* y, int threads);
void cast_values(const uint16_t* x, int64_t n, float* y, int threads);

// y[c] = sum of x[r, c] over the rows, added in float; x [rows, width].
template <class T>
void column_sums(const T* x, int64_t rows, int64_t width, T* y, int threads);

// The gradients of sum(y * dy) for each of these, in the shapes of what they belong to. ds is that of x and of the residual alike.
template <class T>
void gelu_gradient(const T* x, const T* dy, T* dx, int64_t n, GeluCurve curve, int threads);
template <class T>
void gelu_gate_gradient(const T* x, const T* dy, T* dx, int64_t rows, int64_t width, int threads);
template <class T>
void layer_norm_gradient(const T* x, const T* residual, const float* weight, float eps, const T* dy, T* ds, float* d_weight, float* d_bias,
                         int64_t rows, int64_t width, int threads);

}  // namespace m2bert::ops::cpu
