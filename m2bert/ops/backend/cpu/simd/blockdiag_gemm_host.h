#pragma once
// Matmuls by oneDNN on all threads of the OpenMP pool, dense and block-diagonal, forward and backward. Host memory only; thread-safe.
#include <cstddef>
#include <cstdint>

#include "m2bert/ops/backend/cpu/simd/host_dtype.h"

namespace m2bert::ops::cpu {

// A dense row-major matrix [rows, columns], or its transpose: `at` then holds [columns, rows].
struct Operand {
  const void* at;
  int64_t rows, columns;
  bool transposed = false;
};

// c = a b + bias, all of one dtype, float32 or bfloat16; bias [b.columns] or null. Dense, because oneDNN is fast only for dense matrices.
void matmul(HostDtype dtype, const Operand& a, const Operand& b, const void* bias, void* c);

// Copies columns [first, first + width) of x, whose rows are `stride` apart, to dense rows y, and back. All in bytes.
void gather_columns(const void* x, size_t stride, size_t first, size_t width, int64_t rows, void* y, int threads);
void scatter_columns(const void* x, size_t stride, size_t first, size_t width, int64_t rows, void* y, int threads);

// nb blocks of q x p, and M rows: x [M, nb*p], weight [nb, q, p], y [M, nb*q], bias [nb*q] or null. Gradients have the shapes of what they
// belong to. Everything has one dtype, float32 or bfloat16.
struct BlockSizes {
  int64_t nb, q, p, M;
};
void blockdiag_forward(HostDtype dtype, const BlockSizes& sizes, const void* x, const void* weight, const void* bias, void* y, int threads);
void blockdiag_input_grad(HostDtype dtype, const BlockSizes& sizes, const void* dy, const void* weight, void* dx, int threads);
void blockdiag_weight_grad(HostDtype dtype, const BlockSizes& sizes, const void* dy, const void* x, void* dw, int threads);

}  // namespace m2bert::ops::cpu
