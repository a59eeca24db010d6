#include "m2bert/ops/conv1d.h"

#include "m2bert/error.h"

namespace m2bert::ops {

mx::array depthwise_conv1d_causal(const mx::array& u_blc, const mx::array& weight, const std::optional<mx::array>& bias,
                                  mx::StreamOrDevice s) {
  require(u_blc.ndim() == 3, "[depthwise_conv1d_causal] u has shape ", u_blc.shape(), ", wants [B, L, C]");
  const int B = u_blc.shape(0), L = u_blc.shape(1), C = u_blc.shape(2);
  require(weight.ndim() == 3 && weight.shape(0) == C && weight.shape(1) == 1, "[depthwise_conv1d_causal] weight has shape ", weight.shape(),
          ", wants [", C, ", 1, K]");
  const int K = weight.shape(2);
  auto padded = mx::pad(u_blc, std::vector<int>{1}, mx::Shape{K - 1}, mx::Shape{0}, mx::array(0, u_blc.dtype()), "constant", s);
  std::optional<mx::array> y;
  for (int j = 0; j < K; ++j) {
    auto tap = mx::reshape(mx::slice(weight, {0, 0, j}, {C, 1, j + 1}, s), {C}, s);
    auto term = mx::multiply(mx::slice(padded, {0, j, 0}, {B, j + L, C}, s), tap, s);
    y = y ? mx::add(*y, term, s) : term;
  }
  return bias ? mx::add(*y, *bias, s) : *y;
}

}  // namespace m2bert::ops
