#pragma once
// Arrays of prepared filters: float32 for texts of float32, uint32 (pairs of bfloat16) for those of bfloat16. See mixer_simd.h.
#include <memory>
#include <utility>
#include <vector>

#include "m2bert/mx.h"
#include "m2bert/ops/kernels/mixer_simd.h"

namespace m2bert::ops::kernels {

// What a primitive makes of its inputs for texts of `dtype`.
inline mx::array prepared_by(std::shared_ptr<mx::Primitive> primitive, int L, int H, mx::Dtype dtype,
                             const std::vector<mx::array>& inputs) {
  const bool floats = dtype == mx::float32;
  const int row = (floats ? 4 : 2) * kChannelBlock;
  const size_t size = floats ? mixer_prepared_size<float>(H, L) : mixer_prepared_size<uint32_t>(H, L);
  return mx::array({int(size / size_t(row)), row}, floats ? mx::float32 : mx::uint32, std::move(primitive), inputs);
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

}  // namespace m2bert::ops::kernels
