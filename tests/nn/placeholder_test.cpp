#include "m2bert/nn/placeholder.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"

namespace m2bert::nn {
namespace {

TEST(Placeholder, GraphsAreBuiltBeforeTheValuesAreThere) {
  auto x = placeholder({2}, mx::float32);
  auto y = mx::sum(x * mx::array(2.0f));
  EXPECT_THROW(mx::eval(x + x), std::exception);
  bind(x, mx::array({3.0f, 4.0f}));
  EXPECT_EQ(y.item<float>(), 14);
}

// The values may still be lazy, and of any layout.
TEST(Placeholder, TakesLazyValues) {
  auto x = placeholder({2, 2}, mx::float32);
  const auto y = x + mx::array(0.0f);
  const auto values = mx::transpose(mx::array({1.0f, 2.0f, 3.0f, 4.0f}, {2, 2}) + mx::array(1.0f));
  bind(x, values);
  EXPECT_TRUE(mx::array_equal(y, values).item<bool>());
}

TEST(Placeholder, ItsMemoryIsNotWrittenOver) {
  const auto values = mx::exp(mx::zeros({1000}));
  mx::eval(values);
  auto x = placeholder({1000}, mx::float32);
  auto y = mx::exp(x);  // an operation that reuses the memory of inputs that nobody else has
  bind(x, values);
  x = mx::array(0.0f);
  y.eval();
  EXPECT_TRUE(mx::array_equal(values, mx::ones({1000})).item<bool>());
}

TEST(Placeholder, RejectsOtherShapesAndDtypes) {
  auto x = placeholder({2}, mx::float32);
  EXPECT_THROW(bind(x, mx::zeros({3})), Error);
  EXPECT_THROW(bind(x, mx::zeros({2}, mx::bfloat16)), Error);
}

struct DeferredGradient : ::testing::Test {
  mx::array w = mx::array({2.0f}), frozen = mx::array({3.0f});
  std::vector<NamedArray> params{{"w", &w, Role::parameter}};
};

TEST_F(DeferredGradient, IsThatOfTheLatestValues) {
  const auto id = w.id();
  DeferredGrad grad(params, [&] { return mx::sum(w * w * frozen); });
  EXPECT_EQ(w.id(), id);
  w = mx::array({5.0f});
  auto result = std::move(grad).bind();
  EXPECT_EQ(result.value.item<float>(), 75);
  EXPECT_EQ(result.grads[0].item<float>(), 30);
}

TEST_F(DeferredGradient, HoldsTheParametersOnlyWhileItsGraphIsThere) {
  mx::eval(w);
  {
    DeferredGrad grad(params, [&] { return mx::sum(mx::exp(w) * frozen); });
    EXPECT_TRUE(w.is_donatable());
    auto result = std::move(grad).bind();
    EXPECT_FALSE(w.is_donatable());
    mx::eval(result.value, result.grads[0]);
  }
  mx::synchronize();
  EXPECT_TRUE(w.is_donatable());
}

TEST_F(DeferredGradient, ThrowsIfTheLossNeedsValues) {
  const auto id = w.id();
  EXPECT_THROW(DeferredGrad(params, [&] { return mx::sum(w) * mx::array(mx::sum(w).item<float>()); }), std::exception);
  EXPECT_THROW(DeferredGrad(params, [&]() -> mx::array { fail("stop"); }), Error);
  EXPECT_EQ(w.id(), id);
}

}  // namespace
}  // namespace m2bert::nn
