#pragma once
// A layer's weights, evaluated, as pointers for host code.
#include <optional>
#include <vector>

#include "m2bert/memory.h"
#include "m2bert/mx.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/packed_weight_host.h"
#include "m2bert/ops/cpu_features.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::ops::cpu {

// Keeps arrays alive while host code reads them.
class HostArrays {
 public:
  explicit HostArrays(mx::Stream s) : s_(s) {}
  // The packed weights are copies, so the pages of a mapped file are no longer needed.
  ~HostArrays() {
    for (const auto& a : arrays_) release_file_memory(a.data<char>(), a.nbytes());
  }
  HostArrays(const HostArrays&) = delete;
  HostArrays& operator=(const HostArrays&) = delete;

  // Null for an absent array.
  const float* floats(const std::optional<mx::array>& a) { return a ? keep(float32_contiguous(*a, s_)).data<float>() : nullptr; }
  WeightView weight(const Weight& w) {
    const mx::array values = keep(mx::contiguous(w.values, false, s_));
    const int ndim = int(values.ndim());
    return {values.data<char>(), floats(w.scale), ndim == 3 ? values.shape(0) : 1, values.shape(ndim - 2), values.shape(ndim - 1)};
  }

 private:
  mx::array keep(mx::array a) {
    mx::eval(a);
    arrays_.push_back(a);
    return a;
  }

  mx::Stream s_;
  std::vector<mx::array> arrays_;
};

// The GEMM dtype for these weights; nullopt if this CPU has no such GEMM.
inline std::optional<HostDtype> host_dtype_of(const Weight& w) {
  if (w.scale) return w.values.dtype() == mx::int8 && supports_int8_gemm() ? std::optional(HostDtype::int8) : std::nullopt;
  if (w.values.dtype() == mx::float32) return HostDtype::float32;
  return w.values.dtype() == mx::bfloat16 && supports_bfloat16_gemm() ? std::optional(HostDtype::bfloat16) : std::nullopt;
}

// Throws Error, naming `op`, unless a kernel with weights of this dtype supports x: for float32 and bfloat16 weights, x has the same dtype;
// for int8 weights it has either, but bfloat16 only if oneDNN can write it.
inline void require_input_dtype(const char* op, const char* name, const mx::array& x, HostDtype weights) {
  bool reads = x.dtype() == (weights == HostDtype::float32 ? mx::float32 : mx::bfloat16);
  if (weights == HostDtype::int8) reads = x.dtype() == mx::float32 || (x.dtype() == mx::bfloat16 && supports_bfloat16_gemm());
  require(reads, "[", op, "] ", name, " is ", x.dtype(), ", the weights want another dtype");
}

}  // namespace m2bert::ops::cpu
