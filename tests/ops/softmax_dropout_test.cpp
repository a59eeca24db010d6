#include "m2bert/ops/softmax_dropout.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "m2bert/error.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

// dropout(softmax(x + mask)) with this mask of kept values; mask [B, Lk]
PlainOp plain_softmax_dropout(const mx::array& kept_values, double p) {
  return [kept = Plain(kept_values), p](const std::vector<Plain>& in) {
    const Plain& x = in[0];
    Plain y(x.shape);
    for (int b = 0; b < x.dim(0); ++b) {
      for (int h = 0; h < x.dim(1); ++h) {
        for (int i = 0; i < x.dim(2); ++i) {
          double total = 0;
          auto e = [&](int j) { return std::exp(x(b, h, i, j) + (in.size() > 1 ? in[1](b, j) : 0)); };
          for (int j = 0; j < x.dim(3); ++j) total += e(j);
          for (int j = 0; j < x.dim(3); ++j) y(b, h, i, j) = e(j) / total * kept(b, h, i, j) / (1 - p);
        }
      }
    }
    return y;
  };
}

// With a key and p: with the kept values of the op itself, whose rate DropsAtItsRateAndFollowsItsKey tests.
mx::array kept_of(const mx::Shape& shape, float p, const mx::array& key) {
  return *ops::fused_softmax_dropout_with_mask(mx::zeros(shape), p, std::nullopt, key).kept;
}

std::optional<mx::array> second(const std::vector<mx::array>& in) { return in.size() > 1 ? std::optional(in[1]) : std::nullopt; }

TEST(FusedSoftmaxDropout, EqualsItsDefinition) {
  const mx::Shape shape{2, 3, 4, 5};
  const auto key = mx::random::key(7);
  for (float p : {0.0f, 0.3f}) {
    auto plain = plain_softmax_dropout(p > 0 ? kept_of(shape, p, key) : mx::ones(shape), p);
    Op ours = [&](const auto& in) { return ops::fused_softmax_dropout(in[0], p, second(in), key); };
    Op fallback = [&](const auto& in) { return ops::fused_softmax_dropout_fallback(in[0], p, second(in), key); };
    for (const auto& f : {ours, fallback}) {
      expect_as_plain(f, plain, {random(shape, 1)}, 1e-5);
      expect_as_plain(f, plain, {random(shape, 1), random({2, 5}, 2)}, 1e-5);
      expect_value_as_plain(f, plain, {random(shape, 1), random({2, 5}, 2)}, mx::bfloat16, 4e-3);
      expect_value_as_plain(f, plain, {random(shape, 1), random({2, 5}, 2)}, mx::float16, 5e-4);
    }
  }
}

RC_GTEST_PROP(FusedSoftmaxDropout, FormsAgree, ()) {
  const mx::Shape shape{*rc::gen::inRange(1, 4), *rc::gen::inRange(1, 4), *rc::gen::inRange(1, 7), *rc::gen::inRange(1, 20)};
  const float p = *rc::gen::element(0.0f, 0.1f, 0.7f);
  const auto key = mx::random::key(uint64_t(*rc::gen::inRange(0, 1000)));
  std::vector<mx::array> in{random(shape, 1), random({shape[0], 1, 1, shape[3]}, 2)};
  Op ours = [&](const auto& x) { return ops::fused_softmax_dropout(x[0], p, x[1], key); };
  Op fallback = [&](const auto& x) { return ops::fused_softmax_dropout_fallback(x[0], p, x[1], key); };
  auto near = [](const mx::array& a, const mx::array& b) { return mx::allclose(a, b, 1e-4, 3e-6).item<bool>(); };
  RC_ASSERT(near(ours(in), fallback(in)));
  auto cotangent = random(shape, 3);
  auto g = gradients(ours, in, cotangent), expected = gradients(fallback, in, cotangent);
  for (size_t i = 0; i < 2; ++i) RC_ASSERT(near(g[i], expected[i]));
}

TEST(FusedSoftmaxDropout, DropsAtItsRateAndFollowsItsKey) {
  const mx::Shape shape{2, 4, 50, 100};
  auto x = random(shape, 1);
  auto [y, kept] = ops::fused_softmax_dropout_with_mask(x, 0.2f, std::nullopt, mx::random::key(1));
  ASSERT_TRUE(kept.has_value());
  EXPECT_EQ(kept->dtype(), mx::bool_);
  EXPECT_NEAR(mx::mean(mx::astype(*kept, mx::float32)).item<float>(), 0.8, 0.01);  // 40000 draws: standard deviation 0.002
  EXPECT_TRUE(mx::array_equal(mx::not_equal(y, mx::array(0.0f)), *kept).item<bool>());
  expect_near(ops::fused_softmax_dropout(x, 0.2f, std::nullopt, mx::random::key(1)), y, 0);
  auto other = ops::fused_softmax_dropout(x, 0.2f, std::nullopt, mx::random::key(2));
  EXPECT_FALSE(mx::array_equal(other, y).item<bool>());
}

TEST(FusedSoftmaxDropout, WithoutKeyOrProbabilityIsSoftmax) {
  auto x = random({1, 2, 3, 4}, 1);
  auto softmax = mx::softmax(x, -1, true);
  auto [y, kept] = ops::fused_softmax_dropout_with_mask(x, 0.5f, std::nullopt, std::nullopt);
  expect_near(y, softmax, 1e-6);
  EXPECT_FALSE(kept.has_value());
  expect_near(ops::fused_softmax_dropout(x, 0, std::nullopt, mx::random::key(1)), softmax, 1e-6);
}

TEST(FusedSoftmaxDropout, EmptyBatchesAndKeys) {
  for (const mx::Shape& shape : {mx::Shape{0, 2, 3, 4}, {1, 2, 0, 4}, {1, 2, 3, 0}}) {
    auto f = [](const auto& in) { return ops::fused_softmax_dropout(in[0], 0.5f, std::nullopt, mx::random::key(1)); };
    EXPECT_EQ(f(std::vector{mx::zeros(shape)}).shape(), shape);
    EXPECT_EQ(gradients(f, {mx::zeros(shape)}, mx::zeros(shape))[0].shape(), shape);
  }
}

TEST(FusedSoftmaxDropout, NamesWhatIsWrong) {
  auto x = random({2, 2, 3, 4}, 1), key = mx::random::key(1);
  EXPECT_THROW(ops::fused_softmax_dropout(random({3, 4}, 1), 0.1f, std::nullopt, key), Error);
  EXPECT_THROW(ops::fused_softmax_dropout(mx::astype(x, mx::int32), 0.1f, std::nullopt, key), Error);
  EXPECT_THROW(ops::fused_softmax_dropout(x, 1.0f, std::nullopt, key), Error);
  EXPECT_THROW(ops::fused_softmax_dropout(x, -0.5f, std::nullopt, std::nullopt), Error);
  EXPECT_THROW(ops::fused_softmax_dropout(x, 0.1f, mx::zeros({2, 3}), key), Error);
  EXPECT_THROW(ops::fused_softmax_dropout(x, 0.1f, mx::zeros({2, 4}, mx::int32), key), Error);
}

}  // namespace
}  // namespace m2bert
