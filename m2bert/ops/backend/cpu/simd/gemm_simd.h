#pragma once
// GEMM in float32 with packed weights, on the calling thread. Each value of the result is one chain of multiply-adds in the order of the
// columns, so a row has the same bits whatever rows are computed with it. Host memory only; thread-safe.

namespace m2bert::ops::cpu {

// Whether this GEMM is used on this CPU: on x86 without AVX-512, and on AMD's with it. Without AVX-512 oneDNN's rounds some rows
// differently if their number is different; on AMD's with AVX-512 it is slower.
bool has_row_gemm();

// The outputs of a weight must be a multiple of this number.
inline constexpr int kRowGemmOutputs = 16;
// The rows that are computed at the same time. It is fastest for a multiple of them.
inline constexpr int kRowGemmRows = 6;

// packed [q * p] from weight [q, p], row-major.
void pack_row_gemm(const float* weight, int q, int p, float* packed);

// y [rows, q] = x [rows, p] weight^T + bias. bias: [q] or null. y_stride: floats from a row of y to the next, at least q; x is dense.
void row_gemm(const float* x, int rows, int p, const float* packed, const float* bias, int q, float* y, int y_stride);

}  // namespace m2bert::ops::cpu
