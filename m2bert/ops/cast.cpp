#include "m2bert/ops/cast.h"

#include "m2bert/ops/kernels/kernel.h"
#include "m2bert/ops/kernels/pointwise.h"

namespace m2bert::ops {

mx::array cast_reference(const mx::array& x, mx::Dtype dtype, mx::StreamOrDevice s) { return mx::astype(x, dtype, s); }

mx::array cast(const mx::array& x, mx::Dtype dtype, mx::StreamOrDevice s) {
  if (x.dtype() == dtype || !kernels::pointwise_takes(x, s) || (dtype != mx::float32 && dtype != mx::bfloat16)) {
    return cast_reference(x, dtype, s);
  }
  return kernels::cast(x, dtype, kernels::stream_of(s));
}

}  // namespace m2bert::ops
