#include "m2bert/ops/backend/cuda/product.h"

#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/pass_plan.h"

namespace m2bert::ops::cuda {

mx::array product(const mx::array& weight, const mx::array& x, mx::Stream s) {
  const auto y = multiply(weight, x, s);
  const bool known = x.dtype() == mx::bfloat16 || x.dtype() == mx::float32;
  if (Recording::is_on() && known && weight.dtype() == x.dtype()) {
    const int blocks = weight.ndim() == 3 ? weight.shape(0) : 1;
    Recording::note(Product{blocks, weight.shape(-2), weight.shape(-1), x.shape(1), x.dtype()}, {weight, x}, {y});
  }
  return y;
}

}  // namespace m2bert::ops::cuda
