// Every form of the channel mixer's kernels, on an NVIDIA GPU, against operations composed in float32.
#include "m2bert/ops/backend/cuda/channel_mixer.h"

#include <gtest/gtest.h>

#include "m2bert/ops/activation.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/kernel.h"
#include "tests/ops/near.h"

namespace m2bert::ops::cuda {
namespace {

using namespace testing_ops;

class CudaChannelMixer : public ::testing::TestWithParam<int> {  // of positions
 protected:
  void SetUp() override {
    if (std::string(backend_for({}).name()) != "cuda") GTEST_SKIP() << "kernels of NVIDIA GPUs";
  }

  static constexpr int H = 768, I = 3072, nb = 4;
  const int T = GetParam();
  const mx::Stream s = mx::default_stream(mx::default_device());
  const mx::array up = narrow(random({nb, 2 * I / nb, H / nb}, 1) * mx::array(0.07f));
  const mx::array down = narrow(random({nb, H / nb, I / nb}, 2) * mx::array(0.04f));
  const mx::array x = random({H, T}, 3, mx::bfloat16), dy = random({H, T}, 4, mx::bfloat16);

  static mx::array narrow(const mx::array& a) { return mx::astype(a, mx::bfloat16); }
  static mx::array wide(const mx::array& a) { return mx::astype(a, mx::float32); }
  mx::array gated(const mx::array& x) const { return mx::transpose(gelu_gate_fallback(mx::transpose(multiply(wide(up), x, s)), s)); }
};

TEST_P(CudaChannelMixer, GatedProduct) {
  const auto expected = gated(wide(x));
  for (const auto kernel : {ProductKernel::automatic, ProductKernel::warps}) {
    const auto h = gated_product(up, x, {}, s, kernel);
    if (T % 8 != 0) {
      EXPECT_FALSE(h.has_value());
    } else if (h) {
      expect_near(*h, expected, 5e-3);
    }
  }
  expect_near(gated_up(up, x, {}, s), expected, T % 8 == 0 ? 5e-3 : 1e-2);
}

TEST_P(CudaChannelMixer, GatedProductGradient) {
  auto product = [&](const std::vector<mx::array>& in) { return std::vector{mx::transpose(gelu_gate_fallback(mx::transpose(in[0]), s))}; };
  const auto dh = multiply(mx::swapaxes(wide(down), -1, -2), wide(dy), s);
  const auto [h, gradients] = mx::vjp(product, {multiply(wide(up), wide(x), s)}, {dh});
  const auto ours = gated_up_gradient(up, x, down, dy, {}, s);
  expect_near(ours.h, h[0], 1e-2);
  expect_near(ours.dx, gradients[0], 1e-2);
}

TEST_P(CudaChannelMixer, Norm) {
  const NormParameters p{random({H}, 5), random({H}, 6), random({H}, 7), 1e-12f};
  const auto sum = wide(x) + wide(dy) + mx::reshape(p.bias, {H, 1});
  const auto expected = mx::transpose(mx::fast::layer_norm(mx::transpose(sum), p.weight, p.norm_bias, p.eps, s));
  const auto mean = mx::mean(sum, 0);
  for (const auto kernel : {NormKernel::automatic, NormKernel::tiles}) {
    expect_near(channel_norm(x, dy, p, s, kernel), expected, 5e-3);
    const auto training = channel_norm_training(x, dy, p, s, kernel);
    expect_near(training.y, expected, 5e-3);
    expect_near(training.sum, sum, 5e-3);
    expect_near(mx::slice(training.statistics, {0, 0}, {1, T}), mx::reshape(mean, {1, T}), 1e-5, 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Positions, CudaChannelMixer, ::testing::Values(1, 8, 37, 64, 72, 1000, 4104, 20000));

TEST(CudaKernelCode, FitsTheGpu) {
  auto chosen = [](std::string_view gpu) {
    return best_code(gpu, {{"80", "A100"}, {"86", "Ampere"}, {"90a", "Hopper"}, {"100", "Blackwell"}, {"ptx", "PTX"}});
  };
  EXPECT_EQ(chosen("sm_80"), "A100");
  EXPECT_EQ(chosen("sm_86"), "Ampere");
  EXPECT_EQ(chosen("sm_89"), "Ampere");
  EXPECT_EQ(chosen("sm_90"), "Hopper");
  EXPECT_EQ(chosen("sm_100"), "Blackwell");
  EXPECT_EQ(chosen("sm_103"), "Blackwell");
  EXPECT_EQ(chosen("sm_120"), "PTX");
  EXPECT_EQ(chosen(""), "PTX");
  EXPECT_EQ(best_code("sm_91", {{"90a", "Hopper"}, {"ptx", "PTX"}}), "PTX");
}

}  // namespace
}  // namespace m2bert::ops::cuda
