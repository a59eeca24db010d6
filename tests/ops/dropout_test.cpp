#include "m2bert/ops/dropout.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "golden.h"
#include "m2bert/error.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

const std::optional<mx::array> kNoKey;

TEST(Dropout, KeepsTheMeanAndFollowsItsKey) {
  auto x = mx::ones({200, 200});
  auto y = ops::dropout(x, 0.25f, mx::random::key(1));
  // 40000 draws: the standard deviation of the rate is 0.0022, of the mean 0.0029.
  EXPECT_NEAR(mx::mean(y).item<float>(), 1, 0.015);
  EXPECT_NEAR(mx::mean(mx::astype(mx::equal(y, mx::array(0.0f)), mx::float32)).item<float>(), 0.25, 0.011);
  expect_near(ops::dropout(x, 0.25f, mx::random::key(1)), y, 0);
  EXPECT_FALSE(mx::array_equal(ops::dropout(x, 0.25f, mx::random::key(2)), y).item<bool>());
  auto kept = ops::dropout_kept({200, 200}, 0.25f, mx::random::key(1));
  EXPECT_TRUE(mx::array_equal(kept, mx::not_equal(y, mx::array(0.0f))).item<bool>());
  for (float p : {1.0f, -0.1f, std::nanf("")}) EXPECT_THROW(ops::dropout(x, p, mx::random::key(1)), Error);
  EXPECT_THROW(ops::dropout(mx::ones({3}, mx::int32), 0.5f, mx::random::key(1)), Error);
}

TEST(Dropout, EqualsFallbackWithGradients) {
  for (int n : {1, 15, 4096, 10000}) {
    for (auto dtype : {mx::float32, mx::bfloat16}) {
      const auto x = random({n}, n, dtype), key = mx::random::key(uint64_t(n)), cotangent = random({n}, 3);
      auto ours = [&](const auto& in) { return ops::dropout(in[0], 0.3f, key); };
      auto fallback = [&](const auto& in) { return ops::dropout_fallback(in[0], 0.3f, key); };
      expect_near(ours(std::vector{x}), fallback(std::vector{x}), dtype == mx::float32 ? 1e-6 : 1e-2, 1);
      expect_near(gradients(ours, {x}, cotangent)[0], gradients(fallback, {x}, cotangent)[0], dtype == mx::float32 ? 1e-6 : 1e-2, 1);
      const auto y = ours(std::vector{x});
      EXPECT_TRUE(mx::array_equal(mx::not_equal(y, mx::array(0.0f)), ops::dropout_kept({n}, 0.3f, key)).item<bool>());
    }
  }
}

TEST(Dropout, ADroppedNaNIsZero) {
  const auto key = mx::random::key(1);
  const auto y = ops::dropout(mx::full({1000}, NAN), 0.5f, key);
  EXPECT_TRUE(mx::array_equal(mx::isnan(y), ops::dropout_kept({1000}, 0.5f, key)).item<bool>());
}

// Neighbouring values and neighbouring lines are dropped independently.
TEST(Dropout, HasNoPattern) {
  const int rows = 512, width = 4096;
  const auto kept = mx::astype(ops::dropout_kept({rows, width}, 0.5f, mx::random::key(9)), mx::float32) - mx::array(0.5f);
  auto correlation = [&](const mx::array& a, const mx::array& b) { return 4 * mx::mean(a * b).item<float>(); };
  auto part = [&](int r0, int c0, int h, int w) { return mx::slice(kept, {r0, c0}, {r0 + h, c0 + w}); };
  // The mean of 2 million products has a standard deviation of 7e-4.
  for (int shift : {1, 2, 16, 64}) EXPECT_NEAR(correlation(part(0, 0, rows, width - shift), part(0, shift, rows, width - shift)), 0, 4e-3);
  for (int shift : {1, 2, 16}) EXPECT_NEAR(correlation(part(0, 0, rows - shift, width), part(shift, 0, rows - shift, width)), 0, 4e-3);
  const auto by_row = mx::mean(kept, 1), by_column = mx::mean(kept, 0);
  EXPECT_LT(mx::max(mx::abs(by_row)).item<float>(), 5 * 0.5 / std::sqrt(float(width)));
  EXPECT_LT(mx::max(mx::abs(by_column)).item<float>(), 5 * 0.5 / std::sqrt(float(rows)));
}

TEST(Dropout, NamesAnInvalidKey) {
  EXPECT_THROW(ops::dropout(mx::ones({3}), 0.5f, mx::array({1.0f, 2.0f})), Error);
  EXPECT_THROW(ops::dropout(mx::ones({3}), 0.5f, mx::random::key(1) + mx::zeros({2, 2}, mx::uint32)), Error);
}

TEST(FusedDropoutAdd, EqualsUpstream) {
  const auto key = mx::random::key(1);
  auto add = [](float p, std::optional<mx::array> k) { return [=](const auto& in) { return ops::fused_dropout_add(in[0], in[1], p, k); }; };
  expect_golden("fused_dropout_add_train0", {"x", "residual"}, add(0, kNoKey));
  expect_golden("fused_dropout_add_train1", {"x", "residual"}, add(0, key));
  expect_golden("fused_dropout_add_eval_p", {"x", "residual"}, add(0.3f, kNoKey));  // p, but no training
  auto with_bias = [](std::optional<mx::array> k) {
    return [=](const auto& in) { return ops::fused_bias_dropout_add(in[0], in[1], in[2], 0, k); };
  };
  expect_golden("fused_bias_dropout_add_train0", {"x", "bias", "residual"}, with_bias(kNoKey));
  expect_golden("fused_bias_dropout_add_train1", {"x", "bias", "residual"}, with_bias(key));
}

// dropout(x + bias, p) + residual with this mask, for x [M, n]
PlainOp plain_bias_dropout_add(const mx::array& kept, double p) {
  return [kept = Plain(kept), p](const std::vector<Plain>& in) {
    Plain y(in[0].shape);
    for (int m = 0; m < y.dim(0); ++m) {
      for (int c = 0; c < y.dim(1); ++c) y(m, c) = kept(m, c) / (1 - p) * (in[0](m, c) + in[1](c)) + in[2](m, c);
    }
    return y;
  };
}

TEST(FusedBiasDropoutAdd, EqualsItsDefinitionForTheKeysMask) {
  const auto key = mx::random::key(5);
  auto plain = plain_bias_dropout_add(ops::dropout_kept({6, 7}, 0.4f, key), 0.4f);
  Op f = [&](const auto& in) { return ops::fused_bias_dropout_add(in[0], in[1], in[2], 0.4f, key); };
  const std::vector<mx::array> in{random({6, 7}, 1), random({7}, 2), random({6, 7}, 3)};
  expect_as_plain(f, plain, in, 1e-5);  // the gradients have the same mask
  expect_value_as_plain(f, plain, in, mx::bfloat16, 2e-2);
  expect_value_as_plain(f, plain, in, mx::float16, 2e-3);
}

TEST(FusedDropoutAdd, IsTheBiasFormWithoutBias) {
  const auto key = mx::random::key(5);
  auto x = random({6, 7}, 1), residual = random({6, 7}, 3);
  auto f = [&](const auto& in) { return ops::fused_dropout_add(in[0], in[1], 0.4f, key); };
  auto g = [&](const auto& in) { return ops::fused_bias_dropout_add(in[0], mx::zeros({7}), in[1], 0.4f, key); };
  expect_near(f(std::vector{x, residual}), g(std::vector{x, residual}), 0);
  auto ours = gradients(f, {x, residual}, random({6, 7}, 4)), other = gradients(g, {x, residual}, random({6, 7}, 4));
  for (size_t i = 0; i < 2; ++i) expect_near(ours[i], other[i], 0);
  expect_near(f(std::vector{x, residual}) - residual, ops::dropout(x, 0.4f, key), 1e-6);
}

RC_GTEST_PROP(FusedDropoutAdd, OfAnyShape, ()) {
  auto shape = *rc::gen::container<std::vector<int>>(size_t(*rc::gen::inRange(1, 5)), rc::gen::inRange(0, 5));
  const mx::Shape s(shape.begin(), shape.end());
  auto x = random(s, 1), residual = random(s, 2), bias = random({s.back()}, 3), key = mx::random::key(4);
  auto kept = mx::astype(ops::dropout_kept(s, 0.5f, key), mx::float32) * mx::array(2.0f);
  auto same = [](const mx::array& a, const mx::array& b) { return mx::allclose(a, b, 1e-5, 1e-6).item<bool>(); };
  RC_ASSERT(same(ops::fused_dropout_add(x, residual, 0.5f, key), x * kept + residual));
  RC_ASSERT(same(ops::fused_bias_dropout_add(x, bias, residual, 0.5f, key), (x + bias) * kept + residual));
  RC_ASSERT(same(ops::fused_bias_dropout_add(x, bias, residual, 0.5f, kNoKey), x + bias + residual));
}

TEST(FusedDropoutAdd, NamesWhatIsWrong) {
  auto x = random({2, 3}, 1), key = mx::random::key(1);
  EXPECT_THROW(ops::fused_dropout_add(x, random({3}, 1), 0.1f, key), Error);
  EXPECT_THROW(ops::fused_dropout_add(x, mx::astype(x, mx::bfloat16), 0.1f, key), Error);
  EXPECT_THROW(ops::fused_dropout_add(mx::astype(x, mx::int32), mx::astype(x, mx::int32), 0.1f, key), Error);
  for (float p : {1.0f, -0.1f}) EXPECT_THROW(ops::fused_dropout_add(x, x, p, kNoKey), Error);
  EXPECT_THROW(ops::fused_bias_dropout_add(x, random({2}, 1), x, 0.1f, key), Error);
  EXPECT_THROW(ops::fused_bias_dropout_add(x, mx::astype(random({3}, 1), mx::float16), x, 0.1f, key), Error);
}

}  // namespace
}  // namespace m2bert
