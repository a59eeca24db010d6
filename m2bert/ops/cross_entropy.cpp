#include "m2bert/ops/cross_entropy.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/dtype.h"

namespace m2bert::ops {

namespace {
void check(const mx::array& x, const mx::array& labels) {
  require(x.ndim() == 2 && labels.shape() == mx::Shape{x.shape(0)}, "[cross_entropy_rows] x has shape ", x.shape(), ", labels ",
          labels.shape(), ", want [rows, classes] and [rows]");
  require_float("cross_entropy_rows", "x", x);
  require(mx::issubdtype(labels.dtype(), mx::integer), "[cross_entropy_rows] labels are ", labels.dtype(), ", want integers");
}
}  // namespace

mx::array cross_entropy_rows_fallback(const mx::array& x, const mx::array& labels, mx::StreamOrDevice s) {
  check(x, labels);
  auto x32 = mx::astype(x, mx::float32, s);
  auto picked = mx::take_along_axis(x32, mx::expand_dims(mx::astype(labels, mx::int32, s), -1, s), -1, s);
  return mx::subtract(mx::logsumexp(x32, -1, false, s), mx::squeeze(picked, -1, s), s);
}

mx::array cross_entropy_rows(const mx::array& x, const mx::array& labels, mx::StreamOrDevice s) {
  check(x, labels);
  if (auto y = backend_for(s).cross_entropy_rows(x, labels, mx::to_stream(s))) return *y;
  return cross_entropy_rows_fallback(x, labels, s);
}

}  // namespace m2bert::ops
