#include <dnnl.hpp>

#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/simd/instruction_set_simd.h"
#include "m2bert/ops/backend/cpu/simd/packed_weight_host.h"

namespace m2bert::ops {

bool CpuBackend::supports_bfloat16_gemm() const {
  // oneDNN fails to create the matmul if the CPU does not support it.
  static const bool supported = [] {
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
  return supported;
}

bool CpuBackend::supports_int8_gemm() const { return cpu::has_int8_gemm(); }

const char* CpuBackend::instruction_set() const { return cpu::instruction_set(); }

}  // namespace m2bert::ops
