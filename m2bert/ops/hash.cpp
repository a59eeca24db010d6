#include "m2bert/ops/hash.h"

namespace m2bert::ops {

mx::array hash_mix(mx::array x, mx::StreamOrDevice s) {
  auto fold = [&](const mx::array& a, uint32_t by) { return mx::bitwise_xor(a, mx::right_shift(a, mx::array(by), s), s); };
  x = mx::multiply(fold(x, 16), mx::array(0x85ebca6bu), s);
  x = mx::multiply(fold(x, 13), mx::array(0xc2b2ae35u), s);
  return fold(x, 16);
}

}  // namespace m2bert::ops
