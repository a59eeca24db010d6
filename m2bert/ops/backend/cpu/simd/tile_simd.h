#pragma once
// What happens to a tile of rows between two matrix products at inference: host memory only, one thread, widths a multiple of 16.
// T: float, or uint16_t for bfloat16.
#include <cstdint>

#include "m2bert/ops/activation_kind.h"
#include "m2bert/ops/backend/cpu/simd/packed_weight.h"

namespace m2bert::ops::cpu {

// Columns of a product as int8 leaves them: the value is x * row_scale[r] * scale[c] + bias[c]. All null: x is the value.
struct Dequantize {
  const float* row_scale = nullptr;
  const float* scale = nullptr;
  const float* bias = nullptr;  // or null: 0
};

// y = activation(h), or activation(h) * gate. Rows of h and gate are `width` apart, those of y `y_stride`. gate: null, or as h, with the
// scales and biases of its columns in gate_columns. With T bfloat16 the GELU is off by up to 1e-4, less than its rounding.
template <class T>
void activate_tile(Activation activation, const T* h, const Dequantize& h_columns, const T* gate, const Dequantize& gate_columns, int rows,
                   int width, T* y, int64_t y_stride);

// ops::rotation_block of a multiple of 16.
inline int rotation_of(int width) { return width % 64 == 0 ? 64 : width % 32 == 0 ? 32 : 16; }

// x = x * row_scale[r] * scale[c] + bias[c] in place; rows `width` apart.
template <class T>
void dequantize_tile(const Dequantize& columns, int rows, int width, T* x);

// q = round(t / scale[r]) in [-127, 127], rows of q dense, t the row of x after a Hadamard transform of each `rotation` columns (16, 32 or
// 64, a divisor of width; ops/quantized.h says why); scale[r] = max |t| / 127. A row that is not finite gets the scale NaN.
template <class T>
void quantize_tile(const T* x, int64_t x_stride, int rows, int width, int rotation, int8_t* q, float* scale);

// Rows whose columns are cut into blocks, each dense: column c of row r lies at x[(c / width) * block_stride + r * width + c % width].
struct BlockedRows {
  const float* x;
  int64_t block_stride;
  int width;
};

// y = layer_norm(x + bias + residual) * weight + shift, rows `columns` wide in residual and y. x is dequantized with row scales at
// row_scale[block * row_scale_stride + r] where it is int8's. scratch: a row of floats.
struct Norm {
  const float *bias, *weight, *shift;
  float eps;
};
struct BlockedDequantize {
  const float* row_scale = nullptr;
  int64_t row_scale_stride = 0;
  const float* scale = nullptr;
};
template <class T>
void norm_tile(const BlockedRows& x, const BlockedDequantize& dequantize, const T* residual, const Norm& norm, int rows, int columns, T* y,
               float* scratch);

// Rows of a table [count, columns] of float, bfloat16, or int8 with a scale for each row (rotated as ops/quantized.h says).
struct Table {
  const void* values;
  Number number;
  const float* scale;  // [count], of int8; else null
  int count;
};

// y = layer_norm(the sum of one row of each table) * weight + shift; norm.bias is not used. index[table][row] says which; a row that its
// table does not have makes NaN. scratch: two rows of floats.
template <class T>
void embed_tile(const Table* tables, const int32_t* const* index, int table_count, int rotation, const Norm& norm, int rows, int columns,
                T* y, float* scratch);

}  // namespace m2bert::ops::cpu
