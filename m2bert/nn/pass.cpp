#include "m2bert/nn/pass.h"

#include "m2bert/ops/dropout.h"

namespace m2bert::nn {

mx::array Pass::dropout(const mx::array& x, float p) {
  if (!key_ || p == 0) return x;
  auto [next, mine] = mx::random::split(*key_);
  key_ = next;
  return ops::dropout(x, p, mine);
}

}  // namespace m2bert::nn
