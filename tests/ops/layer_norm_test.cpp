#include "m2bert/ops/layer_norm.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "golden.h"
#include "m2bert/error.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

using Norm = decltype(&ops::layer_norm);

// x, weight, bias and the residual if there is one.
Op op(Norm f, float eps) {
  return [=](const std::vector<mx::array>& in) {
    return f(in[0], in.size() > 3 ? std::optional(in[3]) : std::nullopt, in[1], in[2], eps, {});
  };
}

PlainOp plain_norm(double eps) {
  return [eps](const std::vector<Plain>& in) {
    const int rows = in[0].dim(0), n = in[0].dim(1);
    Plain y(in[0].shape);
    for (int r = 0; r < rows; ++r) {
      auto at = [&](int i) { return in[0](r, i) + (in.size() > 3 ? in[3](r, i) : 0); };
      double mean = 0, variance = 0;
      for (int i = 0; i < n; ++i) mean += at(i) / n;
      for (int i = 0; i < n; ++i) variance += (at(i) - mean) * (at(i) - mean) / n;
      for (int i = 0; i < n; ++i) y(r, i) = (at(i) - mean) / std::sqrt(variance + eps) * in[1](i) + in[2](i);
    }
    return y;
  };
}

// float32: 2e-5 of the largest value. bfloat16 and float16: some ulps, because the fallback rounds x + residual.
RC_GTEST_PROP(LayerNorm, FollowsItsDefinitionWithGradients, ()) {
  const int rows = *rc::gen::inRange(1, 5), n = *rc::gen::inRange(4, 20);
  const float eps = *rc::gen::element(1e-12f, 1e-5f);
  const auto f = *rc::gen::element(ops::layer_norm, ops::layer_norm_fallback);
  std::vector<mx::array> in{random({rows, n}, 1), random({n}, 2), random({n}, 3), random({rows, n}, 4)};
  if (*rc::gen::arbitrary<bool>()) in.pop_back();
  SCOPED_TRACE(::testing::Message() << rows << " x " << n << ", eps " << eps << (in.size() > 3 ? ", residual" : ""));
  expect_as_plain(op(f, eps), plain_norm(eps), in, 2e-5);
  expect_value_as_plain(op(f, eps), plain_norm(eps), in, mx::bfloat16, 2e-2);
  expect_value_as_plain(op(f, eps), plain_norm(eps), in, mx::float16, 3e-3);
  RC_ASSERT(!::testing::Test::HasFailure());
}

TEST(LayerNorm, Golden) {
  for (auto [name, eps] : {std::pair{"layernorm_eps1e-12", 1e-12f}, {"layernorm_eps1e-05", 1e-5f}}) {
    for (auto f : {ops::layer_norm, ops::layer_norm_fallback}) expect_golden(name, {"x", "weight", "bias"}, op(f, eps));
  }
}

TEST(LayerNorm, GradientsOfSomeInputs) {
  const std::vector<mx::array> in{random({3, 8}, 1), random({8}, 2), random({8}, 3), random({3, 8}, 4)};
  const auto cotangent = random({3, 8}, 5);
  const auto all = gradients(op(ops::layer_norm, 1e-5f), in, cotangent);
  for (int i = 0; i < 4; ++i) {
    auto loss = [&](const std::vector<mx::array>& x) { return mx::sum(op(ops::layer_norm, 1e-5f)(x) * cotangent); };
    expect_near(mx::grad(loss, std::vector<int>{i})(in)[0], all[size_t(i)], 1e-6);
  }
}

TEST(LayerNorm, SupportsEmptyArraysAndRejectsIntegers) {
  for (auto f : {ops::layer_norm, ops::layer_norm_fallback}) {
    const std::vector<mx::array> in{mx::zeros({0, 8}), random({8}, 2), random({8}, 3), mx::zeros({0, 8})};
    EXPECT_EQ(op(f, 1e-5f)(in).shape(), mx::Shape({0, 8}));
    const auto g = gradients(op(f, 1e-5f), in, mx::zeros({0, 8}));
    for (size_t i = 0; i < in.size(); ++i) expect_near(g[i], mx::zeros_like(in[i]), 0);
    for (size_t i = 0; i < in.size(); ++i) {
      auto wrong = in;
      wrong[i] = mx::astype(in[i], mx::int32);
      EXPECT_THROW(op(f, 1e-5f)(wrong), Error);
    }
    EXPECT_THROW(op(f, 1e-5f)({mx::zeros({2, 8}), in[1], in[2], mx::zeros({3, 8})}), Error);
    EXPECT_THROW(op(f, 1e-5f)({mx::array(1.0f), in[1], in[2]}), Error);
  }
}

TEST(LayerNorm, KernelEqualsFallback) {
  for (int width : {1, 5, 16, 64, 771}) {
    auto x = random({6, width}, width), r = random({6, width}, 2), w = random({width}, 3), b = random({width}, 4);
    for (float eps : {1e-12f, 1e-5f}) {
      if (width > 1) expect_near(ops::layer_norm(x, r, w, b, eps), ops::layer_norm_fallback(x, r, w, b, eps), 3e-6);
      if (width > 1) expect_near(ops::layer_norm(x, std::nullopt, w, b, eps), ops::layer_norm_fallback(x, std::nullopt, w, b, eps), 3e-6);
    }
    if (width > 1)
      expect_near(ops::layer_norm(mx::astype(x, mx::bfloat16), mx::astype(r, mx::bfloat16), w, b, 1e-12f),
                  ops::layer_norm_fallback(x, r, w, b, 1e-12f), 2e-2);
  }
  EXPECT_THROW(ops::layer_norm(random({3, 7}, 1), std::nullopt, random({6}, 1), random({6}, 1), 1e-5f), Error);
}

TEST(LayerNorm, KernelsGradientEqualsFallbacks) {
  for (const int width : {8, 771, 768, 1024, 1792, 2056}) {
    std::vector<mx::array> in{random({37, width}, 1), random({width}, 2), random({width}, 3), random({37, width}, 4)};
    const auto cotangent = random({37, width}, 5);
    for (const bool residual : {true, false}) {
      if (!residual) in.pop_back();
      const auto expected = gradients(op(ops::layer_norm_fallback, 1e-5f), in, cotangent);
      const auto found = gradients(op(ops::layer_norm, 1e-5f), in, cotangent);
      for (size_t i = 0; i < in.size(); ++i) expect_near(found[i], expected[i], 1e-5);
      auto narrow = in;
      for (auto& a : narrow) a = mx::astype(a, mx::bfloat16);
      const auto rounded = gradients(op(ops::layer_norm, 1e-5f), narrow, mx::astype(cotangent, mx::bfloat16));
      for (size_t i = 0; i < in.size(); ++i) {
        EXPECT_EQ(rounded[i].dtype(), mx::bfloat16);
        expect_near(rounded[i], expected[i], 2e-2);
      }
      expect_near(op(ops::layer_norm, 1e-5f)(narrow), op(ops::layer_norm_fallback, 1e-5f)(in), 2e-2);
    }
  }
}

TEST(LayerNorm, OfOneValueIsTheBias) {
  auto y = ops::layer_norm(mx::array({3.0f}, {1, 1}), std::nullopt, mx::array({2.0f}), mx::array({5.0f}), 1e-5f);
  EXPECT_EQ(y.item<float>(), 5.0f);
}

}  // namespace
}  // namespace m2bert
