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

// positions, freq, the weights and biases of three layers, last, times and deltas of each network.
std::vector<mx::array> network_inputs(int networks, int rows, int in, int order, int H) {
  std::vector<mx::array> all;
  for (int n = 0; n < networks; ++n) {
    auto scaled = [&](const mx::Shape& shape, int seed) {
      return random(shape, 20 * n + seed) * mx::array(1 / std::sqrt(float(shape[1])));
    };
    all.insert(all.end(), {random({rows, in}, 20 * n + 1), random({order}, 20 * n + 2), scaled({order, in}, 3), random({order}, 20 * n + 4),
                           scaled({order, order}, 5), random({order}, 20 * n + 6), scaled({order, order}, 7), random({order}, 20 * n + 8),
                           scaled({H, order}, 9), mx::abs(random({rows}, 20 * n + 10)), random({H}, 20 * n + 11)});
  }
  return all;
}

constexpr size_t kOfNetwork = 11;

std::vector<ops::SineNetwork> networks_of(const std::vector<mx::array>& a) {
  std::vector<ops::SineNetwork> all;
  for (size_t i = 0; i < a.size(); i += kOfNetwork) {
    all.push_back({a[i], a[i + 1], {{{a[i + 2], a[i + 3]}, {a[i + 4], a[i + 5]}, {a[i + 6], a[i + 7]}}}, a[i + 8], a[i + 9], a[i + 10]});
  }
  return all;
}

mx::array filter_fallback(const ops::SineNetwork& n) {
  auto h = n.positions;
  for (const auto& layer : n.layers) h = ops::sine_linear_fallback(h, layer.weight, layer.bias, n.freq);
  return ops::exponential_decay_fallback(mx::matmul(h, mx::transpose(n.last)), n.times, n.deltas);
}

TEST(FiltersOfNetworks, EqualTheirLayersWithGradients) {
  struct Sizes {
    int networks, rows, in, order, H;
  };
  for (const auto& [networks, rows, in, order, H] : {Sizes{1, 1, 5, 8, 3},
                                                     {2, 40, 5, 128, 48},
                                                     {4, 300, 5, 64, 33},
                                                     {3, 17, 7, 130, 5},
                                                     {3, 1030, 5, 128, 132},
                                                     {4, 2048, 5, 128, 768}}) {
    const auto in_arrays = network_inputs(networks, rows, in, order, H);
    const auto cotangent = random({networks, rows, H}, 99);
    auto ours = [](const std::vector<mx::array>& a) { return mx::stack(ops::filters_of_networks(networks_of(a))); };
    auto plain = [](const std::vector<mx::array>& a) {
      std::vector<mx::array> filters;
      for (const auto& n : networks_of(a)) filters.push_back(filter_fallback(n));
      return mx::stack(filters);
    };
    expect_near(ours(in_arrays), plain(in_arrays), 3e-5, 1);
    // With and without gradients for times and deltas, which are constants in most models.
    const auto found = gradients(ours, in_arrays, cotangent), expected = gradients(plain, in_arrays, cotangent);
    std::vector<int> learned;
    for (size_t i = 0; i < in_arrays.size(); ++i) {
      SCOPED_TRACE(i);
      expect_near(found[i], expected[i], 1e-4, 1);
      if (i % kOfNetwork < 9) learned.push_back(int(i));
    }
    auto loss = [&](const std::vector<mx::array>& a) { return mx::sum(ours(a) * cotangent); };
    const auto of_learned = mx::grad(loss, learned)(in_arrays);
    for (size_t i = 0; i < learned.size(); ++i) expect_near(of_learned[i], expected[size_t(learned[i])], 1e-4, 1);
  }
}

TEST(FiltersOfNetworks, NamesWhatIsWrong) {
  auto wrong = network_inputs(1, 4, 5, 8, 3);
  wrong[4] = random({8, 9}, 1);
  EXPECT_THROW(ops::filters_of_networks(networks_of(wrong)), Error);
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
