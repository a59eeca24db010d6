#pragma once

namespace m2bert::ops {

// Whether this CPU multiplies bfloat16 (AVX-512 or AMX, and a build with kernels). Without it bfloat16 products are computed in float32.
bool supports_bfloat16_gemm();

// Whether it multiplies int8 without loss (VNNI or AMX, and a build with kernels). Without it int8 weights are computed with in float32.
bool supports_int8_gemm();

// The instructions that the kernels' vector loops take here: "avx512", "avx2", "neon", "sve" or "portable"; "none" in a build without
// kernels. The environment variable ONEDNN_MAX_CPU_ISA (AVX2, AVX, SSE41, ...) limits them together with oneDNN's.
const char* instruction_set();

}  // namespace m2bert::ops
