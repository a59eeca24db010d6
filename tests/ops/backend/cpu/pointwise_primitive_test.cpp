#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/ops/activation.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/layer_norm.h"
#include "m2bert/ops/linear.h"
#include "plain.h"
#include "tests/ops/cpu_kernels.h"

namespace m2bert {
namespace {

using namespace testing_ops;

// Expects `op` and `fallback`, which have the same arguments, to have the same gradients.
void expect_same_gradients(const Op& op, const Op& fallback, const std::vector<mx::array>& inputs, double tolerance, double least = 0) {
  const auto cotangent = random(fallback(inputs).shape(), 99);
  const auto actual = gradients(op, inputs, cotangent), expected = gradients(fallback, inputs, cotangent);
  for (size_t i = 0; i < inputs.size(); ++i) {
    SCOPED_TRACE("input " + std::to_string(i));
    EXPECT_EQ(actual[i].dtype(), inputs[i].dtype());
    expect_near(actual[i], expected[i], tolerance, least);
  }
}

mx::array half(const mx::array& x) { return mx::astype(x, mx::bfloat16); }

TEST(PointwiseKernels, GradientOfGelu) {
  auto op = [](const auto& in) { return ops::gelu(in[0]); };
  auto fallback = [](const auto& in) { return ops::gelu_fallback(in[0]); };
  for (int n : {1, 7, 16, 5000}) {
    auto x = random({n}, n) * mx::array(3.0f);
    expect_same_gradients(op, fallback, {x}, 2e-6, 1);
    expect_near(gradients(op, {half(x)}, random({n}, 2))[0], gradients(fallback, {x}, random({n}, 2))[0], 2e-2);
  }
}

TEST(PointwiseKernels, GeluTanhAndItsGradient) {
  const Op op = [](const auto& in) { return ops::gelu_tanh(in[0]); };
  const Op fallback = [](const auto& in) { return ops::gelu_tanh_fallback(in[0]); };
  auto definition = [](const std::vector<Plain>& in) {
    Plain y(in[0].shape);
    for (size_t i = 0; i < y.values.size(); ++i) {
      const double x = in[0].values[i];
      y.values[i] = 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    }
    return y;
  };
  for (int n : {1, 7, 16, 300}) {
    auto x = random({n}, n) * mx::array(3.0f);
    expect_as_plain(op, definition, {x}, 2e-6);
    expect_as_plain(fallback, definition, {x}, 2e-6);
    auto coarse = half(x), cotangent = random({n}, 2);
    expect_near(op({coarse}), fallback({mx::astype(coarse, mx::float32)}), 4e-3);
    expect_near(gradients(op, {coarse}, cotangent)[0], gradients(fallback, {mx::astype(coarse, mx::float32)}, cotangent)[0], 1e-2);
  }
  const auto far = mx::array({-1e30f, -100.0f, -13.0f, 13.0f, 100.0f, 1e30f});
  for (const auto& form : {op, fallback}) {
    EXPECT_TRUE(mx::array_equal(form({far}), mx::maximum(far, mx::array(0.0f))).item<bool>());
    EXPECT_TRUE(mx::array_equal(gradients(form, {far}, mx::ones({6}))[0], mx::array({0.0f, 0.0f, 0.0f, 1.0f, 1.0f, 1.0f})).item<bool>());
  }
}

TEST(PointwiseKernels, GradientOfGeluGate) {
  auto op = [](const auto& in) { return ops::gelu_gate(in[0]); };
  auto fallback = [](const auto& in) { return ops::gelu_gate_fallback(in[0]); };
  for (int width : {1, 3, 16, 40, 129}) {
    auto x = random({7, 2 * width}, width) * mx::array(3.0f), cotangent = random({7, width}, 2);
    expect_same_gradients(op, fallback, {x}, 1e-6);
    expect_near(gradients(op, {half(x)}, cotangent)[0], gradients(fallback, {x}, cotangent)[0], 2e-2);
  }
}

// Layer norm by its definition, in double.
Plain layer_norm_by_definition(const std::vector<Plain>& in, double eps) {
  const int rows = in[0].dim(0), n = in[0].dim(1);
  Plain y(in[0].shape);
  for (int r = 0; r < rows; ++r) {
    double mean = 0, variance = 0;
    for (int i = 0; i < n; ++i) mean += (in[0](r, i) + in[3](r, i)) / n;
    for (int i = 0; i < n; ++i) variance += std::pow(in[0](r, i) + in[3](r, i) - mean, 2) / n;
    for (int i = 0; i < n; ++i) y(r, i) = (in[0](r, i) + in[3](r, i) - mean) / std::sqrt(variance + eps) * in[1](i) + in[2](i);
  }
  return y;
}

TEST(PointwiseKernels, GradientOfLayerNorm) {
  auto op = [](const auto& in) { return ops::layer_norm(in[0], in[3], in[1], in[2], 1e-5f); };
  auto fallback = [](const auto& in) { return ops::layer_norm_fallback(in[0], in[3], in[1], in[2], 1e-5f); };
  auto definition = [](const std::vector<Plain>& in) { return layer_norm_by_definition(in, 1e-5); };
  for (int width : {3, 5, 16, 35}) {  // not 2: two normalized values are always 1 and -1, so that the gradient almost vanishes
    std::vector<mx::array> in{random({6, width}, width), random({width}, 3), random({width}, 4), random({6, width}, 2)};
    expect_as_plain(op, definition, in, 2e-5);
    expect_same_gradients(op, fallback, in, 1e-5);
  }
  std::vector<mx::array> in{random({300, 771}, 1), random({771}, 3), random({771}, 4), random({300, 771}, 2)};
  expect_same_gradients(op, fallback, in, 1e-5);
  auto coarse = in;
  coarse[0] = half(in[0]);
  coarse[3] = half(in[3]);
  const auto cotangent = random({300, 771}, 5);
  const auto actual = gradients(op, coarse, cotangent), expected = gradients(fallback, in, cotangent);
  for (size_t i = 0; i < in.size(); ++i) expect_near(actual[i], expected[i], 2e-2);
}

TEST(PointwiseKernels, HaveNoSecondDerivative) {
  if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "no kernels in this build or on this device";
  auto slope = mx::grad([](const mx::array& x) { return mx::sum(ops::gelu(x)); });
  EXPECT_THROW(mx::grad([&](const mx::array& x) { return mx::sum(slope(x)); })(random({4}, 1)), Error);
}

// The gradient of a bias is a sum over rows.
TEST(PointwiseKernels, ColumnSum) {
  if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "no kernels in this build or on this device";
  for (auto [rows, width] : {std::pair{1, 1}, {5, 17}, {300, 768}, {7, 1000}}) {
    const auto dy = random({rows, width}, width);
    auto bias_gradient = [&](const mx::array& cotangent) {
      const auto x = mx::zeros({rows, 1}, cotangent.dtype()), weight = mx::zeros({width, 1}, cotangent.dtype());
      auto loss = [&](const mx::array& bias) { return mx::sum(ops::linear(x, weight, bias) * cotangent); };
      return mx::grad(loss)(mx::zeros({width}, cotangent.dtype()));
    };
    expect_near(bias_gradient(dy), mx::sum(dy, 0), 2e-6, 1);
    expect_near(bias_gradient(half(dy)), mx::sum(mx::astype(half(dy), mx::float32), 0), 4e-3, 1);
  }
}

}  // namespace
}  // namespace m2bert
