#include "m2bert/nn/pass.h"

#include "m2bert/ops/dropout.h"

namespace m2bert::nn {

std::optional<mx::array> Pass::dropout_key(float p) {
  if (!key_ || p == 0) return std::nullopt;
  auto [next, mine] = mx::random::split(*key_);
  key_ = next;
  return mine;
}

mx::array Pass::dropout(const mx::array& x, float p) {
  const auto key = dropout_key(p);
  return key ? ops::dropout(x, p, *key) : x;
}

}  // namespace m2bert::nn
