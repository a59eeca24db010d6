#include "m2bert/ops/cast.h"

#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/backend/cpu/pointwise_primitive.h"

namespace m2bert::ops {

mx::array cast_fallback(const mx::array& x, mx::Dtype dtype, mx::StreamOrDevice s) { return mx::astype(x, dtype, s); }

mx::array cast(const mx::array& x, mx::Dtype dtype, mx::StreamOrDevice s) {
  if (x.dtype() == dtype || !cpu::pointwise_takes(x, s) || (dtype != mx::float32 && dtype != mx::bfloat16)) {
    return cast_fallback(x, dtype, s);
  }
  return cpu::cast(x, dtype, cpu::stream_of(s));
}

}  // namespace m2bert::ops
