#pragma once
// The way in to the fast paths. Each op asks cpu_kernels(stream) and otherwise takes its composed form.
#include "m2bert/mx.h"

namespace m2bert::ops::cpu {

// Whether ops on this stream may use our CPU kernels: the stream runs on the CPU, the build has them and nobody switched them off.
bool cpu_kernels(mx::StreamOrDevice s);

// Switches the CPU kernels off (or on again) for this process; tests hold both forms together with it.
void allow_cpu_kernels(bool allow);

// The stream that s means.
mx::Stream stream_of(mx::StreamOrDevice s);

// To be called by a kernel on the thread that computes, so that every OpenMP region there has threads() threads.
void enter_pool();

// ops::supports_bfloat16_gemm.
bool has_bfloat16_gemm();

}  // namespace m2bert::ops::cpu
