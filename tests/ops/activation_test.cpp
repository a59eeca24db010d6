#include "m2bert/ops/activation.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <numbers>

#include "golden.h"
#include "m2bert/error.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

// f, elementwise.
PlainOp pointwise(double (*f)(double)) {
  return [f](const std::vector<Plain>& in) {
    Plain y = in[0];
    for (double& value : y.values) value = f(value);
    return y;
  };
}

double by_erf(double x) { return x * 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double by_tanh(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x))); }

Plain plain_gate(const std::vector<Plain>& in) {
  const auto& x = in[0];
  const int n = x.dim(1) / 2;
  Plain y(mx::Shape{x.dim(0), n});
  for (int r = 0; r < x.dim(0); ++r) {
    for (int i = 0; i < n; ++i) y(r, i) = by_erf(x(r, i)) * x(r, n + i);
  }
  return y;
}

struct Named {
  const char* name;
  mx::array (*f)(const mx::array&, mx::StreamOrDevice);
  PlainOp plain;
};
const Named kAll[] = {{"gelu", ops::gelu, pointwise(by_erf)},
                      {"gelu_fallback", ops::gelu_fallback, pointwise(by_erf)},
                      {"gelu_tanh", ops::gelu_tanh, pointwise(by_tanh)},
                      {"gelu_gate", ops::gelu_gate, plain_gate},
                      {"gelu_gate_fallback", ops::gelu_gate_fallback, plain_gate}};

// float32: 5e-6 of the largest value. bfloat16 and float16: some ulps, because the fallback rounds at each step.
RC_GTEST_PROP(Activation, FollowsItsDefinitionWithGradients, ()) {
  const int rows = *rc::gen::inRange(1, 4), columns = 2 * *rc::gen::inRange(3, 12);
  const auto& each = kAll[*rc::gen::inRange(size_t(0), std::size(kAll))];
  SCOPED_TRACE(::testing::Message() << each.name << " " << rows << " x " << columns);
  auto op = [&](const std::vector<mx::array>& in) { return each.f(in[0], {}); };
  const auto x = random({rows, columns}, 1) * mx::array(2.0f);
  expect_as_plain(op, each.plain, {x}, 5e-6);
  expect_value_as_plain(op, each.plain, {x}, mx::bfloat16, 2e-2);
  expect_value_as_plain(op, each.plain, {x}, mx::float16, 3e-3);
  RC_ASSERT(!::testing::Test::HasFailure());
}

TEST(Activation, GoldenOfGelu) {
  for (auto f : {ops::gelu, ops::gelu_fallback}) {
    expect_golden("gelu_erf", {"x"}, [&](const auto& in) { return f(in[0], {}); });
  }
}

TEST(Activation, ExtremeValues) {
  const auto x = mx::array({-1e30f, -40.0f, -0.0f, 0.0f, 40.0f, 1e30f});
  for (auto f : {ops::gelu, ops::gelu_fallback}) {
    EXPECT_TRUE(mx::array_equal(f(x, {}), mx::array({0.0f, 0.0f, 0.0f, 0.0f, 40.0f, 1e30f})).item<bool>());
  }
}

TEST(Activation, SupportsEmptyArraysAndRejectsIntegers) {
  for (const auto& each : kAll) {
    SCOPED_TRACE(each.name);
    const bool gate = std::string(each.name).starts_with("gelu_gate");
    EXPECT_EQ(each.f(mx::zeros({0, 4}), {}).shape(), mx::Shape({0, gate ? 2 : 4}));
    auto op = [&](const std::vector<mx::array>& in) { return each.f(in[0], {}); };
    EXPECT_EQ(gradients(op, {mx::zeros({0, 4})}, mx::zeros({0, gate ? 2 : 4}))[0].shape(), mx::Shape({0, 4}));
    EXPECT_THROW(each.f(mx::array({1, 2}), {}), Error);
  }
}

TEST(GeluGate, KernelEqualsFallback) {
  for (int width : {1, 3, 16, 40, 129}) {
    auto x = random({7, 2 * width}, width) * mx::array(3.0f);
    expect_near(ops::gelu_gate(x), ops::gelu_gate_fallback(x), 1e-6);
    expect_near(ops::gelu_gate(mx::astype(x, mx::bfloat16)), ops::gelu_gate_fallback(x), 2e-2);
  }
  auto x = random({3, 8}, 1), cotangent = random({3, 4}, 2);
  auto f = [](const auto& in) { return ops::gelu_gate(in[0]); };
  auto g = [](const auto& in) { return ops::gelu_gate_fallback(in[0]); };
  expect_near(gradients(f, {x}, cotangent)[0], gradients(g, {x}, cotangent)[0], 1e-6);
  EXPECT_THROW(ops::gelu_gate(random({3, 7}, 1)), Error);
}

TEST(Gelu, KernelEqualsFallback) {
  for (int n : {1, 7, 16, 5000}) {
    auto x = random({n}, n) * mx::array(3.0f);
    expect_near(ops::gelu(x), ops::gelu_fallback(x), 2e-6, 1);
    auto half = mx::astype(x, mx::bfloat16);
    expect_near(ops::gelu(half), ops::gelu_fallback(mx::astype(half, mx::float32)), 4e-3);
  }
}

}  // namespace
}  // namespace m2bert
