#include "m2bert/ops/filter_network.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

std::vector<mx::array> inputs(int rows, int in, int out) {
  return {random({rows, in}, 1), random({out, in}, 2) * mx::array(1 / std::sqrt(float(in))), random({out}, 3),
          random({out}, 4) * mx::array(5.0f)};
}

Plain plain_sine_linear(const std::vector<Plain>& in) {
  const auto &x = in[0], &weight = in[1], &bias = in[2], &freq = in[3];
  Plain y(mx::Shape{x.dim(0), weight.dim(0)});
  for (int r = 0; r < y.dim(0); ++r) {
    for (int o = 0; o < y.dim(1); ++o) {
      double sum = bias(o);
      for (int j = 0; j < x.dim(1); ++j) sum += x(r, j) * weight(o, j);
      y(r, o) = std::sin(freq(o) * sum);
    }
  }
  return y;
}

TEST(SineLinear, FollowsItsDefinitionWithGradients) {
  for (auto op : {ops::sine_linear, ops::sine_linear_fallback}) {
    expect_as_plain([op](const auto& in) { return op(in[0], in[1], in[2], in[3], {}); }, plain_sine_linear, inputs(5, 3, 7), 2e-5);
  }
}

TEST(SineLinear, EqualsFallbackForAnySize) {
  for (auto [rows, in, out] : {std::array{1, 5, 64}, {9, 64, 64}, {2050, 5, 20}, {16, 1, 1}}) {
    const auto x = inputs(rows, in, out);
    expect_near(ops::sine_linear(x[0], x[1], x[2], x[3]), ops::sine_linear_fallback(x[0], x[1], x[2], x[3]), 1e-5, 1);
  }
}

TEST(SineLinear, GradientsEqualFallback) {
  for (auto [rows, in, out] : {std::array{1, 5, 64}, {9, 64, 64}, {2050, 5, 20}, {300, 64, 64}}) {
    const auto x = inputs(rows, in, out);
    const auto cotangent = random({rows, out}, 9);
    auto of = [&](auto op) { return gradients([op](const auto& a) { return op(a[0], a[1], a[2], a[3], {}); }, x, cotangent); };
    const auto ours = of(ops::sine_linear), fallback = of(ops::sine_linear_fallback);
    for (size_t i = 0; i < x.size(); ++i) expect_near(ours[i], fallback[i], 5e-5, 1);
  }
}

TEST(ExponentialDecay, FollowsItsDefinitionWithGradients) {
  const std::vector<mx::array> in{random({6, 21}, 1), mx::abs(random({6}, 2)), random({21}, 3)};
  auto plain = [](const std::vector<Plain>& a) {
    Plain y(a[0].shape);
    for (int t = 0; t < y.dim(0); ++t) {
      for (int c = 0; c < y.dim(1); ++c) y(t, c) = a[0](t, c) * std::exp(-a[1](t) * std::abs(a[2](c)));
    }
    return y;
  };
  for (auto op : {ops::exponential_decay, ops::exponential_decay_fallback}) {
    expect_as_plain([op](const auto& a) { return op(a[0], a[1], a[2], {}); }, plain, in, 1e-5);  // gradients of deltas, too
    expect_as_plain([op](const auto& a) { return op(a[0], a[1], a[2], {}); }, plain, in, 1e-5, {0});
    EXPECT_THROW(op(in[0], in[2], in[1], {}), Error);
  }
}

TEST(SineLinear, NamesWhatIsWrong) {
  for (auto op : {ops::sine_linear, ops::sine_linear_fallback}) {
    const auto x = inputs(4, 3, 6);
    EXPECT_THROW(op(random({4, 2}, 1), x[1], x[2], x[3], {}), Error);
    EXPECT_THROW(op(x[0], x[1], random({5}, 1), x[3], {}), Error);
    EXPECT_THROW(op(x[0], x[1], x[2], random({1}, 1), {}), Error);
    EXPECT_EQ(op(mx::zeros({0, 3}), x[1], x[2], x[3], {}).shape(), (mx::Shape{0, 6}));
  }
}

}  // namespace
}  // namespace m2bert
