#pragma once
// Arrays of prepared filters: float32 for texts of float32, uint32 (pairs of bfloat16) for those of bfloat16. See mixer_simd.h.
#include <memory>
#include <utility>
#include <vector>

#include "m2bert/mx.h"
#include "m2bert/ops/backend/cpu/simd/monarch_mix_simd.h"

namespace m2bert::ops::cpu {

// For texts of `dtype`.
inline mx::Dtype filter_dtype(mx::Dtype dtype) { return dtype == mx::float32 ? mx::float32 : mx::uint32; }
inline size_t filter_values(int L, int H, mx::Dtype dtype) {
  return dtype == mx::float32 ? packed_filter_size<float>(H, L) : packed_filter_size<uint32_t>(H, L);
}

// What a primitive makes of its inputs for texts of `dtype`.
inline mx::array prepared_by(std::shared_ptr<mx::Primitive> primitive, int L, int H, mx::Dtype dtype,
                             const std::vector<mx::array>& inputs) {
  const int row = (dtype == mx::float32 ? 4 : 2) * kChannelBlock;
  return mx::array({int(filter_values(L, H, dtype) / size_t(row)), row}, filter_dtype(dtype), std::move(primitive), inputs);
}

// The memory of such an array.
class FilterMemory {
 public:
  explicit FilterMemory(mx::array& filters) : floats_(filters.dtype() == mx::float32), at_(filters.data<float>()) {}

  // f(values), a pointer to float or to uint32_t.
  template <class F>
  void visit(const F& f) const {
    if (floats_) {
      f(static_cast<float*>(at_));
    } else {
      f(static_cast<uint32_t*>(at_));
    }
  }

 private:
  bool floats_;
  void* at_;
};

}  // namespace m2bert::ops::cpu
