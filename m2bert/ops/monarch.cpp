#include "m2bert/ops/monarch.h"

#include "m2bert/error.h"
#include "m2bert/ops/kernels/gemm.h"
#include "m2bert/ops/kernels/kernel.h"

namespace m2bert::ops {

namespace {
void check(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias) {
  require(weight.ndim() == 3, "[blockdiag_multiply] weight has shape ", weight.shape(), ", wants [nb, q, p]");
  const int nb = weight.shape(0), q = weight.shape(1), p = weight.shape(2);
  require(x.ndim() >= 1 && x.shape(-1) == nb * p, "[blockdiag_multiply] x has shape ", x.shape(), ", weight wants ", nb, " x ", p,
          " columns");
  require(!bias || (bias->ndim() == 1 && bias->shape(0) == nb * q), "[blockdiag_multiply] bias does not have ", nb, " x ", q, " values");
}
}  // namespace

mx::array blockdiag_multiply_reference(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias,
                                       mx::StreamOrDevice s) {
  check(x, weight, bias);
  const int nb = weight.shape(0), q = weight.shape(1), p = weight.shape(2);
  auto shape = x.shape();
  shape.back() = nb * q;
  if (x.size() == 0) return mx::zeros(shape, x.dtype(), s);
  auto blocks = mx::transpose(mx::reshape(x, {-1, nb, p}, s), {1, 0, 2}, s);  // [nb, rows, p]
  auto y = mx::matmul(blocks, mx::transpose(weight, {0, 2, 1}, s), s);        // [nb, rows, q]
  y = mx::reshape(mx::transpose(y, {1, 0, 2}, s), shape, s);
  return bias ? mx::add(y, mx::astype(*bias, y.dtype(), s), s) : y;
}

mx::array blockdiag_multiply(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, mx::StreamOrDevice s) {
  check(x, weight, bias);
  if (!kernels::cpu_kernels(s) || !kernels::blockdiag_gemm_takes(x, weight, bias)) return blockdiag_multiply_reference(x, weight, bias, s);
  return kernels::blockdiag_gemm(x, weight, bias, kernels::stream_of(s));
}

}  // namespace m2bert::ops
