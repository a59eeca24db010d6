#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "mixer_case.h"
#include "tests/ops/cpu_kernels.h"

namespace m2bert {
namespace {

using namespace testing_ops;

class MonarchMixKernel : public ::testing::TestWithParam<Mixer> {
 protected:
  void SetUp() override {
    if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "no kernels in this build or on this device";
  }

  // projected, u, short_weight, short_bias, k, D, (k_rev), (k2, D2), (k2_rev)
  static std::vector<mx::array> inputs() {
    const auto& m = GetParam();
    std::vector<mx::array> in{random({m.B, m.L, 3 * m.H}, 7), random({m.B, m.L, m.H}, 8), random({3 * m.H, 1, 3}, 9),
                              random({3 * m.H}, 10)};
    const auto f = filters_of(m);
    in.insert(in.end(), {f.k, f.D});
    for (const auto* a : {&f.k_rev, &f.k2, &f.D2, &f.k2_rev}) {
      if (*a) in.push_back(**a);
    }
    return in;
  }

  static ops::MixerFilters filters(const std::vector<mx::array>& in) {
    size_t next = 4;
    auto take = [&](bool there) { return there ? std::optional(in[next++]) : std::nullopt; };
    auto k = *take(true), D = *take(true);
    auto k_rev = take(GetParam().bidirectional), k2 = take(GetParam().residual), D2 = take(GetParam().residual);
    return {k, D, k_rev, k2, D2, take(GetParam().residual && GetParam().bidirectional)};
  }

  static mx::array kernel(const std::vector<mx::array>& in) {
    return ops::backend_for({}).monarch_mix(in[0], in[1], in[2], in[3], filters(in), mx::to_stream({})).value();
  }
  static mx::array fallback(const std::vector<mx::array>& in) { return ops::monarch_mix_fallback(in[0], in[1], in[2], in[3], filters(in)); }
};

TEST_P(MonarchMixKernel, EqualsFallback) { expect_near(kernel(inputs()), fallback(inputs()), 2e-6); }

TEST_P(MonarchMixKernel, GradientsEqualFallback) {
  const auto in = inputs();
  const auto cotangent = random({in[0].shape(0), in[0].shape(1), in[1].shape(2)}, 11);
  const auto actual = gradients(kernel, in, cotangent), expected = gradients(fallback, in, cotangent);
  for (size_t i = 0; i < in.size(); ++i) {
    SCOPED_TRACE("input " + std::to_string(i));
    if (mx::max(mx::abs(expected[i])).item<float>() == 0) {
      EXPECT_EQ(mx::max(mx::abs(actual[i])).item<float>(), 0);
    } else {
      expect_near(actual[i], expected[i], 5e-6);
    }
  }
}

TEST_P(MonarchMixKernel, GradientsOfBfloat16) {
  auto in = inputs();
  const auto cotangent = random({in[0].shape(0), in[0].shape(1), in[1].shape(2)}, 11);
  const auto expected = gradients(fallback, in, cotangent);
  for (size_t i : {0, 1}) in[i] = mx::astype(in[i], mx::bfloat16);
  const auto actual = gradients(kernel, in, cotangent);
  for (size_t i = 0; i < in.size(); ++i) {
    SCOPED_TRACE("input " + std::to_string(i));
    EXPECT_EQ(actual[i].dtype(), in[i].dtype());
    if (mx::max(mx::abs(expected[i])).item<float>() > 0) expect_near(actual[i], expected[i], 2e-2);
  }
}

TEST_P(MonarchMixKernel, GradientOfOneInputAlone) {
  const auto in = inputs();
  const auto cotangent = random({in[0].shape(0), in[0].shape(1), in[1].shape(2)}, 11);
  const auto all = gradients(kernel, in, cotangent);
  for (size_t i : {0, 4, 5}) {
    auto loss = [&](const mx::array& x) {
      auto moved = in;
      moved[i] = x;
      return mx::sum(kernel(moved) * cotangent);
    };
    expect_near(mx::grad(loss)(in[i]), all[i], 1e-7);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, MonarchMixKernel,
                         ::testing::Values(Mixer{1, 1, 16, true, true}, Mixer{2, 2, 16, true, true}, Mixer{2, 3, 32, false, true},
                                           Mixer{1, 5, 16, true, false}, Mixer{3, 16, 48, true, true}, Mixer{2, 33, 16, true, true},
                                           Mixer{1, 64, 16, false, false}, Mixer{2, 128, 64, true, true}, Mixer{3, 20, 80, true, true},
                                           Mixer{1, 1000, 16, true, true}));

TEST(MonarchMixKernel, DeclinesOtherInputs) {
  auto mixed = [](int H, int taps, mx::Dtype dtype) {
    const Mixer m{1, 4, H, true, true};
    const auto projected = mx::zeros({1, 4, 3 * H}, dtype), u = mx::zeros({1, 4, H}, dtype);
    return ops::backend_for({}).monarch_mix(projected, u, mx::zeros({3 * H, 1, taps}), mx::zeros({3 * H}), filters_of(m),
                                            mx::to_stream({}));
  };
  EXPECT_EQ(mixed(16, 3, mx::float32).has_value(), testing_ops::has_cpu_kernels());
  EXPECT_FALSE(mixed(18, 3, mx::float32));
  EXPECT_FALSE(mixed(16, 4, mx::float32));
  EXPECT_FALSE(mixed(16, 3, mx::float16));
}

}  // namespace
}  // namespace m2bert
