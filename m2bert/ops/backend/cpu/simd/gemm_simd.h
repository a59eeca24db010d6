#pragma once
// GEMM in float32 with packed weights, on the calling thread. Each value of the result is one chain of multiply-adds in the order of the
// columns, so a row has the same bits whatever rows are computed with it. Host memory only; thread-safe.

namespace m2bert::ops::cpu {

// Whether this GEMM is used on this CPU: x86 without AVX-512. There oneDNN's rounds some rows differently if their number is different.
bool has_row_gemm();

// The outputs of a weight must be a multiple of this number.
inline constexpr int kRowGemmOutputs = 16;

// packed [q * p] from weight [q, p], row-major.
void pack_row_gemm(const float* weight, int q, int p, float* packed);

// y [rows, q] = x [rows, p] weight^T + bias, all dense. bias: [q] or null.
void row_gemm(const float* x, int rows, int p, const float* packed, const float* bias, int q, float* y);

}  // namespace m2bert::ops::cpu
