#pragma once
// Weights of a layer, evaluated, as the host code of a kernel wants them.
#include <optional>
#include <vector>

#include "m2bert/memory.h"
#include "m2bert/mx.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/packed_weight_host.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::ops::cpu {

// Keeps arrays alive while the host code reads them.
class HostArrays {
 public:
  explicit HostArrays(mx::Stream s) : s_(s) {}
  // What the kernel keeps it has laid out anew: a file's pages are not needed any more.
  ~HostArrays() {
    for (const auto& a : arrays_) release_file_memory(a.data<char>(), a.nbytes());
  }
  HostArrays(const HostArrays&) = delete;
  HostArrays& operator=(const HostArrays&) = delete;

  // null for an absent array
  const float* floats(const std::optional<mx::array>& a) { return a ? keep(plain_float(*a, s_)).data<float>() : nullptr; }
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

// The dtype that kernels compute with for these weights; nothing where they take none of them.
inline std::optional<HostDtype> host_dtype_of(const Weight& w) {
  if (w.scale) return w.values.dtype() == mx::int8 && has_int8_gemm() ? std::optional(HostDtype::int8) : std::nullopt;
  if (w.values.dtype() == mx::float32) return HostDtype::float32;
  return w.values.dtype() == mx::bfloat16 && has_bfloat16_gemm() ? std::optional(HostDtype::bfloat16) : std::nullopt;
}

// Whether a kernel with weights of this dtype takes x: float32 and bfloat16 as they are; int8 takes both, but bfloat16 only where
// oneDNN writes it.
inline bool supports_input(HostDtype dtype, mx::Dtype x) {
  if (dtype == HostDtype::int8) return x == mx::float32 || (x == mx::bfloat16 && has_bfloat16_gemm());
  return x == (dtype == HostDtype::float32 ? mx::float32 : mx::bfloat16);
}

}  // namespace m2bert::ops::cpu
