#include "m2bert/ops/monarch_mix.h"

#include "m2bert/error.h"
#include "m2bert/ops/activation.h"
#include "m2bert/ops/layer_norm.h"
#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

struct Mixer {
  int B, L, H;
  bool bidirectional, residual;
};

std::ostream& operator<<(std::ostream& out, const Mixer& m) {
  return out << "B" << m.B << " L" << m.L << " H" << m.H << (m.bidirectional ? " both ways" : " causal") << (m.residual ? " residual" : "");
}

class MonarchMix : public ::testing::TestWithParam<Mixer> {
 protected:
  void SetUp() override {
    if (!ops::has_mixer_kernel(GetParam().H, mx::float32)) GTEST_SKIP() << "this build has no CPU kernels";
  }
  ops::MixerFilters filters() const {
    const auto& m = GetParam();
    auto filter = [&](int seed) { return random({m.L, m.H}, seed) * mx::array(1 / std::sqrt(float(m.L))); };
    ops::MixerFilters f{filter(1), random({m.H}, 2), {}, {}, {}, {}};
    if (m.bidirectional) f.k_rev = filter(3);
    if (m.residual) {
      f.k2 = filter(4);
      f.D2 = random({m.H}, 5);
      if (m.bidirectional) f.k2_rev = filter(6);
    }
    return f;
  }
};

TEST_P(MonarchMix, KernelEqualsComposedForm) {
  const auto& m = GetParam();
  auto projected = random({m.B, m.L, 3 * m.H}, 7), u = random({m.B, m.L, m.H}, 8), w = random({3 * m.H, 1, 3}, 9),
       b = random({3 * m.H}, 10);
  auto prepared = ops::prepare_mixer(filters());
  auto reference = ops::monarch_mix_reference(projected, u, w, b, filters());
  expect_near(ops::monarch_mix_prepared(projected, u, w, b, prepared, m.residual), reference, 2e-6);
  auto half = [](const mx::array& a) { return mx::astype(a, mx::bfloat16); };
  auto coarse = ops::monarch_mix_prepared(half(projected), half(u), w, b, prepared, m.residual);
  EXPECT_EQ(coarse.dtype(), mx::bfloat16);
  expect_near(coarse, reference, 1.5e-2);
}

INSTANTIATE_TEST_SUITE_P(Shapes, MonarchMix,
                         ::testing::Values(Mixer{1, 1, 16, true, true}, Mixer{2, 2, 16, true, true}, Mixer{2, 3, 32, false, true},
                                           Mixer{1, 5, 16, true, false}, Mixer{3, 16, 48, true, true}, Mixer{2, 33, 16, true, true},
                                           Mixer{1, 64, 16, false, false}, Mixer{2, 128, 64, true, true}, Mixer{1, 1000, 16, true, true},
                                           Mixer{1, 4096, 16, true, true}));

TEST(MonarchMix, NamesWrongShapes) {
  if (!ops::has_mixer_kernel(16, mx::float32)) GTEST_SKIP() << "this build has no CPU kernels";
  auto prepared = ops::prepare_mixer({random({8, 16}, 1), random({16}, 2), {}, {}, {}, {}});
  auto w = random({48, 1, 3}, 3), b = random({48}, 4);
  EXPECT_THROW(ops::monarch_mix_prepared(random({1, 8, 48}, 1), random({1, 7, 16}, 1), w, b, prepared, false), Error);
  EXPECT_THROW(ops::monarch_mix_prepared(random({1, 9, 48}, 1), random({1, 9, 16}, 1), w, b, prepared, false), Error);
  EXPECT_THROW(ops::prepare_mixer({random({8, 16}, 1), random({15}, 2), {}, {}, {}, {}}), Error);
  EXPECT_FALSE(ops::has_mixer_kernel(18, mx::float32));
}

TEST(GeluGate, KernelEqualsComposedForm) {
  for (int width : {1, 3, 16, 40, 129}) {
    auto x = random({7, 2 * width}, width) * mx::array(3.0f);
    expect_near(ops::gelu_gate(x), ops::gelu_gate_reference(x), 1e-6);
    expect_near(ops::gelu_gate(mx::astype(x, mx::bfloat16)), ops::gelu_gate_reference(x), 2e-2);
  }
  auto x = random({3, 8}, 1), cotangent = random({3, 4}, 2);
  auto f = [](const auto& in) { return ops::gelu_gate(in[0]); };
  auto g = [](const auto& in) { return ops::gelu_gate_reference(in[0]); };
  expect_near(gradients(f, {x}, cotangent)[0], gradients(g, {x}, cotangent)[0], 1e-6);
  EXPECT_THROW(ops::gelu_gate(random({3, 7}, 1)), Error);
}

TEST(Gelu, KernelEqualsComposedForm) {
  for (int n : {1, 7, 16, 5000}) {
    auto x = random({n}, n) * mx::array(3.0f);
    expect_near(ops::gelu(x), ops::gelu_reference(x), 1e-6);
    expect_near(ops::gelu(mx::astype(x, mx::bfloat16)), ops::gelu_reference(x), 2e-2);
  }
}

TEST(LayerNorm, KernelEqualsComposedForm) {
  for (int width : {1, 5, 16, 64, 771}) {
    auto x = random({6, width}, width), r = random({6, width}, 2), w = random({width}, 3), b = random({width}, 4);
    for (float eps : {1e-12f, 1e-5f}) {
      if (width > 1) expect_near(ops::layer_norm(x, r, w, b, eps), ops::layer_norm_reference(x, r, w, b, eps), 3e-6);
      if (width > 1) expect_near(ops::layer_norm(x, std::nullopt, w, b, eps), ops::layer_norm_reference(x, std::nullopt, w, b, eps), 3e-6);
    }
    if (width > 1)
      expect_near(ops::layer_norm(mx::astype(x, mx::bfloat16), mx::astype(r, mx::bfloat16), w, b, 1e-12f),
                  ops::layer_norm_reference(x, r, w, b, 1e-12f), 2e-2);
  }
  EXPECT_THROW(ops::layer_norm(random({3, 7}, 1), std::nullopt, random({6}, 1), random({6}, 1), 1e-5f), Error);
}

TEST(LayerNorm, OfOneValueIsTheBias) {
  auto y = ops::layer_norm(mx::array({3.0f}, {1, 1}), std::nullopt, mx::array({2.0f}), mx::array({5.0f}), 1e-5f);
  EXPECT_EQ(y.item<float>(), 5.0f);
}

}  // namespace
}  // namespace m2bert
