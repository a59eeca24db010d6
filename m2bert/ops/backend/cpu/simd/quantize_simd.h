#pragma once
// int8 activations of a tile, quantized row by row, and back. Host memory only, on the calling thread; thread-safe. Widths are multiples of
// 16. T: float, or uint16_t for bfloat16.
#include <cstdint>

namespace m2bert::ops::cpu {

// Turns the result x of an int8 GEMM into values: x * row_scale[r] * scale[c] + bias[c]. All null: x already is the value.
struct Dequantize {
  const float* row_scale = nullptr;  // [rows]
  const float* scale = nullptr;      // [columns]
  const float* bias = nullptr;       // [columns], or null: 0
};

// Dequantizes x [rows, width], dense, in place.
template <class T>
void dequantize_tile(const Dequantize& columns, int rows, int width, T* x);

// The size of the blocks that quantize_tile transforms, for a width that is a multiple of 16; the same as ops::rotation_block.
inline int hadamard_block(int width) { return width % 64 == 0 ? 64 : width % 32 == 0 ? 32 : 16; }

// q = round(t / scale[r]) in [-127, 127], where t is a row of x after a Hadamard transform of each block of columns (16, 32 or 64, a
// divisor of width; see ops/quantized.h) and scale[r] = max |t| / 127. x's rows are x_stride apart, q [rows, width] is dense. A row with a
// NaN or an infinity gets the scale NaN.
template <class T>
void quantize_tile(const T* x, int64_t x_stride, int rows, int width, int block, int8_t* q, float* scale);

}  // namespace m2bert::ops::cpu
