// The channel mixer of NVIDIA GPUs, for inference and training, against the fallback in float32.
#include "m2bert/ops/feed_forward.h"

#include <gtest/gtest.h>

#include "m2bert/ops/backend/backend.h"
#include "tests/ops/near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

struct Sizes {
  int H, I, nb;
};

class CudaFeedForward : public ::testing::TestWithParam<Sizes> {
 protected:
  void SetUp() override {
    if (std::string(ops::backend_for({}).name()) != "cuda") GTEST_SKIP() << "kernels of NVIDIA GPUs";
  }

  static ops::FeedForwardWeights weights() {
    const auto [H, I, nb] = GetParam();
    auto weight = [nb = nb](int out, int in, int seed) {
      const mx::array scale(1 / std::sqrt(float(in / nb)));
      const mx::Shape shape = nb == 1 ? mx::Shape{out, in} : mx::Shape{nb, out / nb, in / nb};
      return ops::Weight{mx::astype(random(shape, seed) * scale, mx::bfloat16), {}};
    };
    auto vector = [H = H](int seed) { return mx::astype(random({H}, seed), mx::bfloat16); };
    ops::FeedForwardWeights w{weight(2 * I, H, 1), {}, weight(H, I, 2), vector(3), vector(4), vector(5)};
    w.gated = true;
    return w;
  }
};

using Arrays = std::vector<mx::array>;

Arrays arrays_of(const mx::array& x, const ops::FeedForwardWeights& w) {
  return {x, w.up.values, w.down.values, *w.down_bias, w.norm_weight, w.norm_bias};
}
ops::FeedForwardWeights with_arrays(ops::FeedForwardWeights w, const Arrays& in) {
  w.up.values = in[1], w.down.values = in[2], w.down_bias = in[3], w.norm_weight = in[4], w.norm_bias = in[5];
  return w;
}
Arrays float32(Arrays arrays) {
  for (auto& a : arrays) a = mx::astype(a, mx::float32);
  return arrays;
}

TEST_P(CudaFeedForward, PackedEqualsTheFallback) {
  const auto w = weights();
  const auto packed = ops::pack_feed_forward(w);
  ASSERT_NE(packed, nullptr);
  for (const int rows : {1, 15, 32, 130, 301, 640}) {
    const auto x = random({rows, GetParam().H}, rows, mx::bfloat16);
    const auto wide = float32(arrays_of(x, w));
    expect_near((*packed)(x), ops::feed_forward_fallback(wide[0], with_arrays(w, wide)), 2e-2);
  }
  EXPECT_EQ((*packed)(mx::zeros({0, GetParam().H}, mx::bfloat16)).shape(), (mx::Shape{0, GetParam().H}));
}

TEST_P(CudaFeedForward, TrainsLikeTheFallback) {
  const auto w = weights();
  for (const float p : {0.0f, 0.3f}) {
    const auto key = p > 0 ? std::optional(mx::random::key(3)) : std::nullopt;
    auto ours = [&](const Arrays& in) { return ops::feed_forward(in[0], with_arrays(w, in), p, key); };
    auto fallback = [&](const Arrays& in) { return ops::feed_forward_fallback(in[0], with_arrays(w, in), p, key); };
    for (const auto& shape : {mx::Shape{1, 1}, mx::Shape{3, 5}, mx::Shape{4, 16}, mx::Shape{3, 101}, mx::Shape{6, 200}}) {
      SCOPED_TRACE(shape[0] * 1000 + shape[1]);
      const auto x = random({shape[0], shape[1], GetParam().H}, shape[1], mx::bfloat16);
      const auto in = arrays_of(x, w), wide = float32(in);
      const auto cotangent = random(x.shape(), 17);
      expect_near(ours(in), fallback(wide), 2e-2);
      const auto g = gradients(ours, in, cotangent), expected = gradients(fallback, wide, cotangent);
      for (size_t i = 0; i < in.size(); ++i) {
        EXPECT_EQ(g[i].dtype(), mx::bfloat16);
        expect_near(g[i], expected[i], 3e-2, 0.5);
      }
    }
  }
}

TEST_P(CudaFeedForward, GradientsAreDeterministic) {
  const auto w = weights();
  auto ours = [&](const Arrays& in) { return ops::feed_forward(in[0], with_arrays(w, in), 0.1f, mx::random::key(3)); };
  const auto in = arrays_of(random({40, 100, GetParam().H}, 1, mx::bfloat16), w);
  const auto cotangent = random(in[0].shape(), 17);
  const auto a = gradients(ours, in, cotangent), b = gradients(ours, in, cotangent);
  for (size_t i = 0; i < in.size(); ++i) EXPECT_TRUE(mx::array_equal(a[i], b[i]).item<bool>()) << i;
}

// What one block returns, the next one takes, with gradients in the same layout.
TEST_P(CudaFeedForward, TakesItsOwnResult) {
  const auto w = weights();
  auto twice = [&](auto f) {
    return [&w, f](const Arrays& in) {
      const auto y = f(in[0], with_arrays(w, in), 0.0f, std::nullopt, mx::StreamOrDevice{});
      return f(y, with_arrays(w, in), 0.0f, std::nullopt, mx::StreamOrDevice{});
    };
  };
  const auto in = arrays_of(random({3, 40, GetParam().H}, 1, mx::bfloat16), w), wide = float32(in);
  const auto cotangent = random(in[0].shape(), 17);
  const auto ours = twice(&ops::feed_forward), fallback = twice(&ops::feed_forward_fallback);
  expect_near(ours(in), fallback(wide), 3e-2);
  const auto g = gradients(ours, in, cotangent), expected = gradients(fallback, wide, cotangent);
  for (size_t i = 0; i < in.size(); ++i) expect_near(g[i], expected[i], 5e-2, 0.5);
}

INSTANTIATE_TEST_SUITE_P(Sizes, CudaFeedForward, ::testing::Values(Sizes{64, 128, 1}, Sizes{768, 3072, 4}, Sizes{1792, 64, 2}));

}  // namespace
}  // namespace m2bert
