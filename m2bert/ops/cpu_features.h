#pragma once

namespace m2bert::ops {

// Whether this CPU has bfloat16 GEMM (AVX-512 or AMX, and a build with kernels). Without it, bfloat16 matmuls are computed in float32.
bool supports_bfloat16_gemm();

// Whether this CPU has exact int8 GEMM (VNNI or AMX, and a build with kernels). Without it, int8 weights are used as float32.
bool supports_int8_gemm();

// The instruction set that the kernels' vector loops use: "avx512", "avx2", "neon", "sve" or "portable"; "none" in a build without
// kernels. The environment variable ONEDNN_MAX_CPU_ISA (AVX2, AVX, SSE41, ...) limits them together with oneDNN's.
const char* instruction_set();

}  // namespace m2bert::ops
