#include "m2bert/ops/bias.h"

#include <numeric>
#include <vector>

#include "m2bert/ops/dtype.h"

namespace m2bert::ops {

mx::array broadcast_bias(const mx::array& bias, const mx::Shape& shape, mx::Dtype dtype, mx::StreamOrDevice s) {
  using Arrays = std::vector<mx::array>;
  auto forward = [=](const Arrays& in) { return Arrays{mx::broadcast_to(mx::astype(in[0], dtype, s), shape, s)}; };
  if (!is_half(dtype)) return forward({bias})[0];
  auto backward = [=](const Arrays& in, const Arrays& cotangents, const Arrays&) {
    std::vector<int> rows(shape.size() - 1);
    std::iota(rows.begin(), rows.end(), 0);
    return Arrays{mx::astype(mx::sum(mx::astype(cotangents[0], mx::float32, s), rows, false, s), in[0].dtype(), s)};
  };
  return mx::custom_vjp(forward, backward)({bias})[0];
}

mx::array add_bias(const mx::array& x, const mx::array& bias, mx::StreamOrDevice s) {
  return mx::add(x, broadcast_bias(bias, x.shape(), x.dtype(), s), s);
}

}  // namespace m2bert::ops
