#include "m2bert/ops/long_conv.h"

#include "m2bert/error.h"
#include "m2bert/ops/conv1d.h"
#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

const float* values(const mx::array& a) {
  const_cast<mx::array&>(a).eval();
  return a.data<float>();
}

// The sums of the definition, in double.
mx::array by_definition(const mx::array& u, const mx::array& k, const std::optional<mx::array>& k_rev, const mx::array& D) {
  const int B = u.shape(0), L = u.shape(1), d = u.shape(2);
  const float *U = values(u), *K = values(k), *R = k_rev ? values(*k_rev) : nullptr, *skip = values(D);
  std::vector<float> y(size_t(B * L * d));
  for (int b = 0; b < B; ++b) {
    for (int t = 0; t < L; ++t) {
      for (int c = 0; c < d; ++c) {
        double sum = double(skip[c]) * U[(b * L + t) * d + c];
        for (int s = 0; s <= t; ++s) sum += double(K[(t - s) * d + c]) * U[(b * L + s) * d + c];
        for (int s = t + 1; R && s < L; ++s) sum += double(R[(s - t - 1) * d + c]) * U[(b * L + s) * d + c];
        y[size_t((b * L + t) * d + c)] = float(sum);
      }
    }
  }
  return mx::array(y.data(), {B, L, d});
}

class LongConv : public ::testing::TestWithParam<int> {};

TEST_P(LongConv, EqualsItsDefinition) {
  const int L = GetParam();
  auto u = random({2, L, 3}, 1), k = random({L, 3}, 2), k_rev = random({L, 3}, 3), D = random({3}, 4);
  expect_near(ops::long_conv(u, ops::long_conv_spectrum(k, k_rev), D), by_definition(u, k, k_rev, D), 2e-6);
  expect_near(ops::long_conv(u, ops::long_conv_spectrum(k, std::nullopt), D), by_definition(u, k, std::nullopt, D), 2e-6);
}

// The convolution is linear in each input: its gradient is a sum of the definition too, checked here by finite differences of it.
TEST_P(LongConv, GradientsFollowTheDefinition) {
  const int L = GetParam();
  std::vector<mx::array> in{random({1, L, 2}, 1), random({L, 2}, 2), random({L, 2}, 3), random({2}, 4)};
  auto cotangent = random({1, L, 2}, 5);
  auto f = [](const std::vector<mx::array>& x) { return ops::long_conv(x[0], ops::long_conv_spectrum(x[1], x[2]), x[3]); };
  auto ours = gradients(f, in, cotangent);
  for (size_t i = 0; i < in.size(); ++i) {
    auto step = random(in[i].shape(), 10 + int(i));
    auto moved = in;
    moved[i] = step;  // linear: the directional derivative along `step` is the function at `step`, the others fixed
    if (i == 1) moved[2] = mx::zeros_like(in[2]);
    if (i == 2) moved[1] = mx::zeros_like(in[1]);
    if (i == 1 || i == 2) moved[3] = mx::zeros_like(in[3]);
    if (i == 3) moved[1] = moved[2] = mx::zeros_like(in[1]);
    const double along = mx::sum(by_definition(moved[0], moved[1], moved[2], moved[3]) * cotangent).item<float>();
    const double scale = mx::sum(mx::abs(ours[i] * step)).item<float>();
    EXPECT_NEAR(mx::sum(ours[i] * step).item<float>(), along, 1e-5 * scale + 1e-6) << "input " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Lengths, LongConv, ::testing::Values(1, 2, 3, 10, 16, 33, 97, 128));

TEST(LongConv, KeepsTheDtypeOfTheInput) {
  auto u = random({1, 16, 4}, 1), k = random({16, 4}, 2), D = random({4}, 3);
  auto spectrum = ops::long_conv_spectrum(k, std::nullopt);
  auto half = ops::long_conv(mx::astype(u, mx::bfloat16), spectrum, D);
  EXPECT_EQ(half.dtype(), mx::bfloat16);
  expect_near(half, ops::long_conv(u, spectrum, D), 1e-2);
}

TEST(LongConv, NamesWrongShapes) {
  auto u = random({1, 8, 4}, 1), D = random({4}, 3);
  EXPECT_THROW(ops::long_conv(u, ops::long_conv_spectrum(random({7, 4}, 2), std::nullopt), D), Error);
  EXPECT_THROW(ops::long_conv(u, ops::long_conv_spectrum(random({8, 3}, 2), std::nullopt), D), Error);
  EXPECT_THROW(ops::long_conv(u, ops::long_conv_spectrum(random({8, 4}, 2), std::nullopt), random({3}, 1)), Error);
  EXPECT_THROW(ops::long_conv_spectrum(random({8, 4}, 2), random({7, 4}, 2)), Error);
}

TEST(DepthwiseConv1d, IsCausalWithTorchsWeightOrder) {
  auto u = mx::array({1.0f, 10.0f, 100.0f, 1000.0f}, {1, 4, 1}), w = mx::array({2.0f, 3.0f, 5.0f}, {1, 1, 3}), b = mx::array({0.5f});
  auto y = ops::depthwise_conv1d_causal(u, w, b);
  expect_near(y, mx::array({5.5f, 53.5f, 532.5f, 5320.5f}, {1, 4, 1}), 1e-7);
}

}  // namespace
}  // namespace m2bert
