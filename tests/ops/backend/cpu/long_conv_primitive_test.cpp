#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/long_conv.h"
#include "near.h"
#include "tests/ops/cpu_kernels.h"

namespace m2bert {
namespace {

using namespace testing_ops;

struct Case {
  int B, L, d;
  bool bidirectional;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "B" << c.B << " L" << c.L << " d" << c.d << (c.bidirectional ? " both ways" : " causal");
}

class LongConvKernel : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "no kernels in this build or on this device";
  }
  // u, k, D, (k_rev)
  static std::vector<mx::array> inputs() {
    const auto& c = GetParam();
    const auto scale = mx::array(1 / std::sqrt(float(c.L)));
    std::vector<mx::array> in{random({c.B, c.L, c.d}, 1), random({c.L, c.d}, 2) * scale, random({c.d}, 3)};
    if (c.bidirectional) in.push_back(random({c.L, c.d}, 4) * scale);
    return in;
  }
  static std::optional<mx::array> reverse(const std::vector<mx::array>& in) { return in.size() > 3 ? std::optional(in[3]) : std::nullopt; }
  static mx::array kernel(const std::vector<mx::array>& in) {
    return ops::backend_for({}).long_conv(in[0], in[1], reverse(in), in[2], mx::to_stream({})).value();
  }
  static mx::array fallback(const std::vector<mx::array>& in) {
    return ops::long_conv_with_spectrum(in[0], ops::long_conv_spectrum(in[1], reverse(in)), in[2]);
  }
};

TEST_P(LongConvKernel, EqualsFallback) { expect_near(kernel(inputs()), fallback(inputs()), 2e-6); }

TEST_P(LongConvKernel, GradientsEqualFallback) {
  const auto in = inputs();
  const auto cotangent = random(in[0].shape(), 5);
  const auto actual = gradients(kernel, in, cotangent), expected = gradients(fallback, in, cotangent);
  for (size_t i = 0; i < in.size(); ++i) {
    SCOPED_TRACE("input " + std::to_string(i));
    const double largest = mx::max(mx::abs(expected[i])).item<float>();
    EXPECT_LE(mx::max(mx::abs(actual[i] - expected[i])).item<float>(), 4e-6 * std::max(largest, 1e-2));
  }
}

TEST_P(LongConvKernel, Bfloat16) {
  auto in = inputs();
  const auto cotangent = random(in[0].shape(), 5);
  const auto value = fallback(in), d_k = gradients(fallback, in, cotangent)[1];
  in[0] = mx::astype(in[0], mx::bfloat16);
  EXPECT_EQ(kernel(in).dtype(), mx::bfloat16);
  expect_near(kernel(in), value, 1.5e-2);
  expect_near(gradients(kernel, in, cotangent)[1], d_k, 1.5e-2);
}

INSTANTIATE_TEST_SUITE_P(Shapes, LongConvKernel,
                         ::testing::Values(Case{1, 1, 16, true}, Case{2, 2, 16, true}, Case{3, 3, 32, false}, Case{1, 5, 16, true},
                                           Case{3, 16, 48, true}, Case{2, 33, 16, false}, Case{5, 97, 16, true}, Case{2, 128, 64, true},
                                           Case{1, 1000, 16, true}, Case{1, 4096, 16, true}));

// Another sequence of the batch, even one that is not finite, changes no bit of a sequence, forward and backward.
TEST(LongConvKernel, SequencesDoNotTouchEachOther) {
  if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "no kernels in this build or on this device";
  auto k = random({8, 16}, 1), k_rev = random({8, 16}, 2), D = random({16}, 3), one = random({1, 8, 16}, 4);
  auto alone = ops::long_conv(one, k, k_rev, D);
  for (float other : {1e30f, INFINITY, NAN}) {
    auto both = mx::concatenate({one, mx::full({1, 8, 16}, other)}, 0);
    EXPECT_TRUE(mx::array_equal(mx::slice(ops::long_conv(both, k, k_rev, D), {0, 0, 0}, {1, 8, 16}), alone).item<bool>());
    auto loss = [&](const mx::array& u) { return mx::sum(ops::long_conv(u, k, k_rev, D) * both); };
    auto expected = mx::grad([&](const mx::array& u) { return mx::sum(ops::long_conv(u, k, k_rev, D) * one); })(one);
    EXPECT_TRUE(mx::array_equal(mx::slice(mx::grad(loss)(both), {0, 0, 0}, {1, 8, 16}), expected).item<bool>());
  }
}

TEST(LongConvKernel, DeclinesOtherInputs) {
  auto convolved = [](const mx::array& u) {
    const auto k = mx::zeros({u.shape(1), u.shape(2)});
    return ops::backend_for({}).long_conv(u, k, std::nullopt, mx::zeros({u.shape(2)}), mx::to_stream({}));
  };
  EXPECT_EQ(convolved(mx::zeros({1, 4, 16})).has_value(), testing_ops::has_cpu_kernels());
  EXPECT_FALSE(convolved(mx::zeros({1, 4, 18})));
  EXPECT_FALSE(convolved(mx::zeros({0, 4, 16})));
  EXPECT_FALSE(convolved(mx::zeros({1, 4, 16}, mx::float16)));
}

}  // namespace
}  // namespace m2bert
