#pragma once
// Matrix products by oneDNN on all threads, dense and block-diagonal: host memory only, no MLX.
#include <cstddef>
#include <cstdint>

#include "m2bert/ops/backend/cpu/simd/packed_weight.h"

namespace m2bert::ops::cpu {

// A dense row-major matrix [rows, columns], or its transpose: `at` then holds [columns, rows].
struct Operand {
  const void* at;
  int64_t rows, columns;
  bool transposed = false;
};

// c = a b + bias, all of one number (float32 or bfloat16); bias [b.columns] or null. oneDNN has its fast products for dense matrices alone.
void multiply(Number number, const Operand& a, const Operand& b, const void* bias, void* c);

// Columns [first, first + width) of x, whose rows lie `stride` apart, to dense rows y, and back. All in bytes.
void gather_columns(const void* x, size_t stride, size_t first, size_t width, int64_t rows, void* y, int threads);
void scatter_columns(const void* x, size_t stride, size_t first, size_t width, int64_t rows, void* y, int threads);

// nb blocks of q x p and M rows: x [M, nb*p], weight [nb, q, p], y [M, nb*q], bias [nb*q] or null.
struct BlockSizes {
  int64_t nb, q, p, M;
};
void blockdiag_forward(Number number, const BlockSizes& sizes, const void* x, const void* weight, const void* bias, void* y, int threads);
void blockdiag_input_grad(Number number, const BlockSizes& sizes, const void* dy, const void* weight, void* dx, int threads);
void blockdiag_weight_grad(Number number, const BlockSizes& sizes, const void* dy, const void* x, void* dw, int threads);

}  // namespace m2bert::ops::cpu
