#include "m2bert/ops/backend/backend.h"

#include <atomic>

#include "m2bert/ops/cpu_features.h"
#include "m2bert/threads.h"

#ifdef M2BERT_CPU_KERNELS
#include <dnnl.hpp>

#include "m2bert/ops/backend/cpu/simd/instruction_set_simd.h"
#include "m2bert/ops/backend/cpu/simd/packed_weight_host.h"
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

namespace m2bert::ops::cpu {

namespace {
std::atomic<bool> allowed{true};
}

mx::Stream stream_of(mx::StreamOrDevice s) { return mx::to_stream(s); }

bool cpu_kernels(mx::StreamOrDevice s) {
#ifdef M2BERT_CPU_KERNELS
  return allowed && stream_of(s).device == mx::Device(mx::Device::cpu);
#else
  (void)s;
  return false;
#endif
}

void allow_cpu_kernels(bool allow) { allowed = allow; }

void enter_pool() {
#ifdef _OPENMP
  if (omp_get_max_threads() != threads()) omp_set_num_threads(threads());
#endif
}

bool has_bfloat16_gemm() {
#ifdef M2BERT_CPU_KERNELS
  // oneDNN refuses to make the product where the CPU lacks it.
  static const bool has = [] {
    using namespace dnnl;
    engine cpu(engine::kind::cpu, 0);
    memory::desc square({16, 16}, memory::data_type::bf16, memory::format_tag::ab);
    try {
#if DNNL_VERSION_MAJOR >= 3
      matmul::primitive_desc(cpu, square, square, square);
#else
      matmul::primitive_desc(matmul::desc(square, square, square), cpu);
#endif
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return has;
#else
  return false;
#endif
}

}  // namespace m2bert::ops::cpu

bool m2bert::ops::supports_bfloat16_gemm() { return cpu::has_bfloat16_gemm(); }

bool m2bert::ops::supports_int8_gemm() {
#ifdef M2BERT_CPU_KERNELS
  return cpu::has_int8_gemm();
#else
  return false;
#endif
}

const char* m2bert::ops::instruction_set() {
#ifdef M2BERT_CPU_KERNELS
  return cpu::instruction_set();
#else
  return "none";
#endif
}
