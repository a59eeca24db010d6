#include "m2bert/ops/bias.h"

#include <numeric>
#include <vector>

namespace m2bert::ops {

mx::array add_bias(const mx::array& x, const mx::array& bias, mx::StreamOrDevice s) {
  using Arrays = std::vector<mx::array>;
  auto forward = [=](const Arrays& in) { return Arrays{mx::add(in[0], mx::astype(in[1], in[0].dtype(), s), s)}; };
  if (x.dtype() == mx::float32) return forward({x, bias})[0];
  auto backward = [=](const Arrays& in, const Arrays& cotangents, const Arrays&) {
    std::vector<int> rows(cotangents[0].ndim() - 1);
    std::iota(rows.begin(), rows.end(), 0);
    const auto sum = mx::sum(mx::astype(cotangents[0], mx::float32, s), rows, false, s);
    return Arrays{cotangents[0], mx::astype(sum, in[1].dtype(), s)};
  };
  return mx::custom_vjp(forward, backward)({x, bias})[0];
}

}  // namespace m2bert::ops
