#include "m2bert/ops/dropout.h"

#include "m2bert/error.h"

namespace m2bert::ops {

mx::array dropout(const mx::array& x, float p, const mx::array& key, mx::StreamOrDevice s) {
  require(p >= 0 && p < 1, "[dropout] p is ", p, ", wants 0 <= p < 1");
  if (p == 0) return x;
  auto kept = mx::random::bernoulli(mx::array(1 - p), x.shape(), key, s);
  return mx::where(kept, mx::multiply(x, mx::array(1 / (1 - p), x.dtype()), s), mx::array(0, x.dtype()), s);
}

}  // namespace m2bert::ops
