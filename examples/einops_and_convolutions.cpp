// The operations library (m2bert::ops): einops patterns, short and long convolutions, a gradient.
#include <iostream>

#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/long_conv.h"
#include "m2bert/ops/rearrange.h"

namespace mx = m2bert::mx;
namespace ops = m2bert::ops;

// The largest difference, relative to the largest value.
float deviation(const mx::array& a, const mx::array& b) { return mx::divide(mx::max(mx::abs(a - b)), mx::max(mx::abs(b))).item<float>(); }

int main() {
  const mx::array x = mx::random::normal({2, 64, 48});  // [batch, length, channels]

  // The axes of the input on the left of the arrow, those of the result on the right. Sizes that do not follow from the shape are given.
  const mx::array heads = ops::rearrange(x, "b l (h d) -> b h l d", {{"h", 4}});
  const mx::array pooled = ops::reduce(x, "b (l 8) d -> b l d", ops::Reduction::mean);
  const mx::array spread = ops::repeat(pooled, "b l d -> b (l n) d", {{"n", 8}});
  std::cout << "heads " << heads.shape() << ", means of 8 positions " << pooled.shape() << ", spread again " << spread.shape() << "\n";
  std::cout << "heads put together: deviation " << deviation(ops::rearrange(heads, "b h l d -> b l (h d)"), x) << "\n";

  // A filter per channel, as long as the sequence. By FFT this takes O(L log L) ...
  const mx::array filter = mx::random::normal({64, 48}) * 0.1f, skip = mx::zeros({48});  // [length, channels], [channels]
  const mx::array by_fft = ops::long_conv(x, filter, std::nullopt, skip);
  // ... and equals a causal depthwise convolution with 64 taps, in O(L^2). Its weight has torch's layout, with the current position last.
  const mx::array newest_last = mx::take(filter, mx::arange(63, -1, -1), 0);
  const mx::array weight = ops::rearrange(newest_last, "l c -> c 1 l");
  const mx::array by_taps = ops::depthwise_conv1d_causal(x, weight, std::nullopt);
  std::cout << "long convolution by FFT and by taps: deviation " << deviation(by_fft, by_taps) << "\n";

  // Everything is differentiable: gradient descent finds a filter with the same result.
  const auto error = [&](const mx::array& k) { return mx::mean(mx::square(ops::long_conv(x, k, std::nullopt, skip) - by_taps)); };
  mx::array found = mx::zeros_like(filter);
  std::cout << "squared error " << error(found).item<float>();
  for (int step = 0; step < 400; ++step) {
    found = found - 5.0f * mx::grad(error)(found);
    mx::eval(found);
  }
  std::cout << ", after 400 gradient steps " << error(found).item<float>() << "\n";
}
