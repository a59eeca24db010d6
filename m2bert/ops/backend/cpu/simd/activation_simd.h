#pragma once
// Activations of whole arrays, forward and backward on all threads, and of one tile at inference. Host memory only; thread-safe. T: float,
// or uint16_t for bfloat16.
#include <cstdint>

#include "m2bert/ops/activation_kind.h"
#include "m2bert/ops/backend/cpu/simd/quantize_simd.h"

namespace m2bert::ops::cpu {

// GELU by the error function, or its tanh approximation.
enum class GeluApproximation { none, tanh };

// y[i] = gelu(x[i]) for n values; y may be x.
template <class T>
void gelu_values(const T* x, T* y, int64_t n, GeluApproximation approximation, int threads);
// dx[i] = dy[i] * gelu'(x[i]) for n values.
template <class T>
void gelu_gradient(const T* x, const T* dy, T* dx, int64_t n, GeluApproximation approximation, int threads);

// y[r, i] = gelu(x[r, i]) * x[r, width + i]; x [rows, 2 * width], y [rows, width].
template <class T>
void gelu_gate_rows(const T* x, T* y, int64_t rows, int64_t width, int threads);
// dx [rows, 2 * width] from dy [rows, width].
template <class T>
void gelu_gate_gradient(const T* x, const T* dy, T* dx, int64_t rows, int64_t width, int threads);

// y = activation(h), or activation(h) * gate, for one tile on the calling thread. h and gate [rows, width] are dense, y's rows are y_stride
// apart; width is a multiple of 16. gate may be null. h_columns and gate_columns dequantize h and gate, both or neither. If T is bfloat16,
// GELU is off by up to 1e-4, less than the rounding of the result.
template <class T>
void activate_tile(Activation activation, const T* h, const Dequantize& h_columns, const T* gate, const Dequantize& gate_columns, int rows,
                   int width, T* y, int64_t y_stride);

}  // namespace m2bert::ops::cpu
