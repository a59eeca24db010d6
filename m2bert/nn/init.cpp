#include "m2bert/nn/init.h"

namespace m2bert::nn {

mx::array KeySequence::next() {
  auto [rest, mine] = mx::random::split(key_);
  key_ = rest;
  return mine;
}

mx::array normal(const mx::Shape& shape, float deviation, KeySequence& keys) {
  return mx::random::normal(shape, mx::float32, 0.0f, deviation, keys.next());
}

mx::array uniform(const mx::Shape& shape, float bound, KeySequence& keys) {
  return mx::random::uniform(mx::array(-bound), mx::array(bound), shape, mx::float32, keys.next());
}

}  // namespace m2bert::nn
