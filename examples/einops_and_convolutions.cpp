// The operations by themselves (m2bert::ops): einops' patterns, and three ways to convolve along a sequence.
#include <iostream>

#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/long_conv.h"
#include "m2bert/ops/rearrange.h"

namespace mx = m2bert::mx;
namespace ops = m2bert::ops;

// The largest difference of two arrays, relative to the largest value.
float deviation(const mx::array& a, const mx::array& b) {
  return mx::divide(mx::max(mx::abs(a - b)), mx::max(mx::abs(b))).item<float>();
}

int main() {
  const mx::array x = mx::random::normal({2, 64, 48});  // [batch, length, channels]

  // A pattern names what an array has on the left and what the result has on the right.
  const mx::array heads = ops::rearrange(x, "b l (h d) -> b h l d", {{"h", 4}});
  const mx::array pooled = ops::reduce(x, "b (l 8) d -> b l d", ops::Reduction::mean);
  const mx::array spread = ops::repeat(pooled, "b l d -> b (l n) d", {{"n", 8}});
  std::cout << "heads " << heads.shape() << "  pooled " << pooled.shape() << "  spread " << spread.shape() << "\n";

}
