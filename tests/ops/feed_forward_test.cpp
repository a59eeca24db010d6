#include "m2bert/ops/feed_forward.h"
#include "m2bert/ops/cpu_features.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <numbers>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "plain.h"
#include "tests/ops/cpu_kernels.h"

namespace m2bert {
namespace {

using namespace testing_ops;
using ops::Activation;
using ops::FeedForwardWeights;

struct Sizes {
  int H, I, nb = 1;
  bool gated = true;
  bool biased = false;
};

mx::array weight(int out, int in, int nb, int seed) {
  const float size = 1 / std::sqrt(float(in / nb));
  return nb == 1 ? random({out, in}, seed) * size : random({nb, out / nb, in / nb}, seed) * size;
}

FeedForwardWeights weights(const Sizes& s, Activation activation = Activation::gelu) {
  const int up = s.gated ? 2 * s.I : s.I;
  FeedForwardWeights w{
      {weight(up, s.H, s.nb, 1), {}}, {}, {weight(s.H, s.I, s.nb, 2), {}}, random({s.H}, 3), random({s.H}, 4), random({s.H}, 5)};
  if (s.biased) w.up_bias = random({up}, 6);
  w.activation = activation;
  w.gated = s.gated;
  return w;
}

// The weights in another dtype; int8: quantized.
FeedForwardWeights cast(FeedForwardWeights w, mx::Dtype dtype) {
  auto to = [&](const mx::array& a) { return ops::Weight{mx::astype(a, dtype), {}}; };
  w.up = dtype == mx::int8 ? ops::quantize_weight(w.up.values) : to(w.up.values);
  w.down = dtype == mx::int8 ? ops::quantize_weight(w.down.values) : to(w.down.values);
  return w;
}

double plain_activation(double x, Activation activation) {
  switch (activation) {
    case Activation::gelu: return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
    case Activation::gelu_tanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::relu: return std::max(x, 0.0);
    case Activation::silu: return x / (1 + std::exp(-x));
    case Activation::tanh: return std::tanh(x);
  }
  return 0;
}

// The definition in double.
Plain plain(const Plain& x, const FeedForwardWeights& w) {
  auto product = [](const Plain& x, const mx::array& weight, const std::optional<mx::array>& bias) {
    const Plain values(weight);
    const int nb = weight.ndim() == 3 ? weight.shape(0) : 1, q = weight.shape(-2), p = weight.shape(-1);
    Plain y(mx::Shape{x.dim(0), nb * q});
    for (int r = 0; r < x.dim(0); ++r) {
      for (int o = 0; o < nb * q; ++o) {
        y(r, o) = bias ? Plain(*bias).values[size_t(o)] : 0;
        for (int j = 0; j < p; ++j) y(r, o) += x(r, o / q * p + j) * values.values[size_t(o * p + j)];
      }
    }
    return y;
  };
  const Plain h = product(x, w.up.values, w.up_bias);
  const int I = h.dim(1) / (w.gated ? 2 : 1);
  Plain a(mx::Shape{x.dim(0), I});
  for (int r = 0; r < x.dim(0); ++r) {
    for (int i = 0; i < I; ++i) a(r, i) = plain_activation(h(r, i), w.activation) * (w.gated ? h(r, I + i) : 1);
  }
  Plain y = product(a, w.down.values, w.down_bias);
  const Plain scale(w.norm_weight), shift(w.norm_bias);
  for (int r = 0; r < x.dim(0); ++r) {
    double mean = 0, variance = 0;
    for (int c = 0; c < y.dim(1); ++c) mean += (y(r, c) += x(r, c)) / y.dim(1);
    for (int c = 0; c < y.dim(1); ++c) variance += (y(r, c) - mean) * (y(r, c) - mean) / y.dim(1);
    for (int c = 0; c < y.dim(1); ++c) y(r, c) = (y(r, c) - mean) / std::sqrt(variance + w.eps) * scale(c) + shift(c);
  }
  return y;
}

const std::vector<Sizes> kSizes = {
    {48, 96, 1, true}, {64, 128, 4, true}, {96, 192, 3, true}, {48, 64, 1, false, true}, {64, 128, 2, false, true}};

TEST(FeedForward, FallbackFollowsItsDefinition) {
  for (const auto& sizes : kSizes) {
    for (auto activation : {Activation::gelu, Activation::gelu_tanh, Activation::relu, Activation::silu}) {
      const auto w = weights(sizes, activation);
      const auto x = random({3, sizes.H}, 9);
      EXPECT_LE(relative_error(ops::feed_forward_fallback(x, w), plain(Plain(x), w)), 1e-5);
    }
  }
}

// The training kernel against the fallback: values, and gradients with respect to x and every weight, with the same values dropped.
std::vector<mx::array> arrays_of(const mx::array& x, const FeedForwardWeights& w) {
  std::vector<mx::array> all{x, w.up.values, w.down.values, w.norm_weight, w.norm_bias};
  for (const auto* a : {&w.up_bias, &w.down_bias}) {
    if (*a) all.push_back(**a);
  }
  return all;
}

FeedForwardWeights with_arrays(FeedForwardWeights w, const std::vector<mx::array>& in) {
  w.up.values = in[1], w.down.values = in[2], w.norm_weight = in[3], w.norm_bias = in[4];
  size_t next = 5;
  for (auto* a : {&w.up_bias, &w.down_bias}) {
    if (*a) *a = in[next++];
  }
  return w;
}

TEST(FeedForward, TrainsLikeTheFallback) {
  for (const auto& sizes : kSizes) {
    for (auto activation : {Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
      for (float p : {0.0f, 0.3f}) {
        const auto w = weights(sizes, activation);
        const auto key = p > 0 ? std::optional(mx::random::key(3)) : std::nullopt;
        auto ours = [&](const std::vector<mx::array>& in) { return ops::feed_forward(in[0], with_arrays(w, in), p, key); };
        auto fallback = [&](const std::vector<mx::array>& in) { return ops::feed_forward_fallback(in[0], with_arrays(w, in), p, key); };
        for (int rows : {1, 300}) {
          const auto in = arrays_of(random({rows, sizes.H}, rows), w);
          expect_near(ours(in), fallback(in), 2e-5);
          const auto cotangent = random({rows, sizes.H}, 17);
          const auto g = gradients(ours, in, cotangent), expected = gradients(fallback, in, cotangent);
          for (size_t i = 0; i < in.size(); ++i) expect_near(g[i], expected[i], 5e-5, 0.5);
        }
      }
    }
  }
}

TEST(FeedForward, TrainsInBfloat16CloseToFloat32) {
  for (const auto& sizes : kSizes) {
    const auto w = weights(sizes);
    auto op = [&](const std::vector<mx::array>& in) { return ops::feed_forward(in[0], with_arrays(w, in), 0.3f, mx::random::key(3)); };
    auto in = arrays_of(random({40, sizes.H}, 5), w);
    for (auto& a : in) a = mx::astype(mx::astype(a, mx::bfloat16), mx::float32);
    const auto cotangent = random({40, sizes.H}, 17), y = op(in);
    const auto expected = gradients(op, in, cotangent);
    for (auto& a : in) a = mx::astype(a, mx::bfloat16);
    expect_near(op(in), y, 3e-2);
    const auto g = gradients(op, in, cotangent);
    for (size_t i = 0; i < in.size(); ++i) {
      EXPECT_EQ(g[i].dtype(), mx::bfloat16);
      expect_near(g[i], expected[i], 3e-2, 0.5);
    }
  }
}

class PackedFeedForward : public ::testing::TestWithParam<Sizes> {
 protected:
  void SetUp() override {
    if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
  }
};

TEST_P(PackedFeedForward, EqualsFallbackForAnyNumberOfRows) {
  for (auto activation : {Activation::gelu, Activation::gelu_tanh, Activation::relu, Activation::silu}) {
    const auto w = weights(GetParam(), activation);
    const auto packed = ops::pack_feed_forward(w);
    ASSERT_NE(packed, nullptr);
    for (int rows : {1, 15, 16, 130, 300}) {
      const auto x = random({rows, GetParam().H}, rows);
      expect_near((*packed)(x), ops::feed_forward_fallback(x, w), 2e-5);
    }
  }
}

TEST_P(PackedFeedForward, Bfloat16IsCloseToFloat32) {
  if (!ops::supports_bfloat16_gemm()) GTEST_SKIP() << "this CPU has no bfloat16 products";
  const auto w = cast(weights(GetParam()), mx::bfloat16);
  const auto packed = ops::pack_feed_forward(w);
  ASSERT_NE(packed, nullptr);
  for (int rows : {1, 130}) {
    const auto x = random({rows, GetParam().H}, rows, mx::bfloat16);
    const auto y = (*packed)(x);
    EXPECT_EQ(y.dtype(), mx::bfloat16);
    expect_near(y, ops::feed_forward_fallback(mx::astype(x, mx::float32), cast(w, mx::float32)), 2e-2);
  }
}

TEST_P(PackedFeedForward, Int8EqualsFallback) {
  const auto w = cast(weights(GetParam()), mx::int8);
  const auto packed = ops::pack_feed_forward(w);
  ASSERT_EQ(packed != nullptr, ops::supports_int8_gemm());
  if (!packed) GTEST_SKIP() << "this CPU has no int8 products";
  for (int rows : {1, 130}) {
    // A value near the middle of two integers may be rounded either way: the tolerance is one step of the activations' scale.
    const auto x = random({rows, GetParam().H}, rows);
    expect_near((*packed)(x), ops::feed_forward_fallback(x, w), 1e-2);
    if (!ops::supports_bfloat16_gemm()) continue;
    const auto narrow = mx::astype(x, mx::bfloat16);
    expect_near((*packed)(narrow), ops::feed_forward_fallback(mx::astype(narrow, mx::float32), w), 3e-2);
  }
}

TEST_P(PackedFeedForward, KeepsNaNInItsRow) {
  for (auto dtype : {mx::float32, mx::int8}) {
    if (dtype == mx::int8 && !ops::supports_int8_gemm()) continue;
    const auto packed = ops::pack_feed_forward(cast(weights(GetParam()), dtype));
    auto x = random({40, GetParam().H}, 7);
    const auto clean = (*packed)(x);
    auto row = mx::reshape(mx::equal(mx::arange(40), mx::array(3)), {40, 1});
    const auto y = (*packed)(mx::where(row, mx::array(NAN), x));
    EXPECT_TRUE(mx::all(mx::isnan(mx::take(y, 3, 0))).item<bool>());
    EXPECT_TRUE(mx::array_equal(mx::where(row, mx::array(0.0f), y), mx::where(row, mx::array(0.0f), clean)).item<bool>());
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, PackedFeedForward, ::testing::ValuesIn(kSizes));

TEST(FeedForward, ReturnsNullForUnsupportedWeights) {
  EXPECT_EQ(ops::pack_feed_forward(weights({48, 96}, Activation::tanh)), nullptr);
  EXPECT_EQ(ops::pack_feed_forward(weights({40, 80})), nullptr);                     // not multiples of 16
  EXPECT_EQ(ops::pack_feed_forward(cast(weights({48, 96}), mx::float16)), nullptr);  // no float16 GEMM
  auto mixed = weights({48, 96});
  mixed.down = ops::quantize_weight(mixed.down.values);
  EXPECT_EQ(ops::pack_feed_forward(mixed), nullptr);
}

TEST(FeedForward, NamesWhatIsWrong) {
  const auto w = weights({48, 96});
  EXPECT_THROW(ops::feed_forward(random({3, 48}, 1), w, 1.0f, mx::random::key(1)), Error);
  EXPECT_THROW(ops::feed_forward_fallback(random({3, 47}, 1), w), Error);
  if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
  const auto packed = ops::pack_feed_forward(w);
  EXPECT_THROW((*packed)(random({3, 47}, 1)), Error);
  EXPECT_THROW((*packed)(random({3, 48}, 1, mx::bfloat16)), Error);
  EXPECT_EQ((*packed)(mx::zeros({0, 48})).shape(), (mx::Shape{0, 48}));
  EXPECT_THROW(mx::grad([&](const mx::array& x) { return mx::sum((*packed)(x)); })(random({3, 48}, 1)), Error);
}

}  // namespace
}  // namespace m2bert
