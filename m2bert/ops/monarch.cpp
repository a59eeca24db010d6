#include "m2bert/ops/monarch.h"

#include "m2bert/error.h"

namespace m2bert::ops {

mx::array blockdiag_multiply(const mx::array& x, const mx::array& weight, mx::StreamOrDevice s) {
  require(weight.ndim() == 3, "[blockdiag_multiply] weight has shape ", weight.shape(), ", wants [nb, q, p]");
  const int nb = weight.shape(0), q = weight.shape(1), p = weight.shape(2);
  require(x.ndim() >= 1 && x.shape(-1) == nb * p, "[blockdiag_multiply] x has ", x.ndim() ? x.shape(-1) : 0, " columns, weight wants ", nb,
          " x ", p);
  const int rows = int(x.size() / size_t(nb * p));
  auto blocks = mx::transpose(mx::reshape(x, {rows, nb, p}, s), {1, 0, 2}, s);                                   // [nb, rows, p]
  auto y = mx::transpose(mx::matmul(blocks, mx::transpose(weight, {0, 2, 1}, s), s), {1, 0, 2}, s);              // [rows, nb, q]
  auto shape = x.shape();
  shape.back() = nb * q;
  return mx::reshape(y, shape, s);
}

}  // namespace m2bert::ops
