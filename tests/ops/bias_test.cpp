// Biases, and whatever else has a gradient that is a sum over rows.
#include "m2bert/ops/bias.h"

#include <gtest/gtest.h>

#include <functional>

#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/dropout.h"
#include "m2bert/ops/embedding.h"
#include "m2bert/ops/layer_norm.h"
#include "m2bert/ops/linear.h"
#include "m2bert/ops/monarch.h"
#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;
using Arrays = std::vector<mx::array>;
using Function = std::function<mx::array(const Arrays&)>;

Arrays gradients_of(const Function& f, const Arrays& in, const mx::array& dy) {
  return mx::vjp([&](const Arrays& in) { return Arrays{f(in)}; }, in, {mx::astype(dy, f(in).dtype())}).second;
}

TEST(AddBias, Values) {
  for (const auto dtype : {mx::float32, mx::bfloat16, mx::float16}) {
    const auto x = random({2, 3, 5}, 1, dtype), bias = random({5}, 2);
    const auto y = ops::add_bias(x, bias);
    EXPECT_EQ(y.dtype(), dtype);
    EXPECT_TRUE(mx::array_equal(y, x + mx::astype(bias, dtype)).item<bool>());
    const auto gradients = gradients_of([](const Arrays& in) { return ops::add_bias(in[0], in[1]); }, {x, bias}, mx::ones({2, 3, 5}));
    EXPECT_EQ(gradients[1].dtype(), mx::float32);
    EXPECT_TRUE(mx::array_equal(gradients[1], mx::full({5}, 6.0f)).item<bool>());
    EXPECT_TRUE(mx::array_equal(gradients[0], mx::ones({2, 3, 5}, dtype)).item<bool>());
  }
  EXPECT_EQ(ops::add_bias(mx::zeros({0, 5}, mx::bfloat16), mx::zeros({5})).shape(), mx::Shape({0, 5}));
}

// sum(f(x)^2), whose gradient depends on the value, so that it has a second derivative.
mx::array second_derivative(const Function& f, const Arrays& in, size_t of) {
  auto square = [&](const Arrays& in) { return mx::sum(mx::square(mx::astype(f(in), mx::float32))); };
  auto slope = [&](const mx::array& x) {
    auto with = in;
    with[of] = x;
    return mx::sum(mx::square(mx::astype(mx::grad(square, std::vector<int>{int(of)})(with)[0], mx::float32)));
  };
  return mx::grad(slope)(in[of]);
}

TEST(AddBias, SecondDerivatives) {
  const Function add = [](const Arrays& in) { return ops::add_bias(in[0], in[1]); };
  const Arrays wide{random({4, 5}, 1), random({5}, 2)};
  const Arrays narrow{mx::astype(wide[0], mx::bfloat16), mx::astype(wide[1], mx::bfloat16)};
  expect_near(second_derivative(add, narrow, 1), second_derivative(add, wide, 1), 3e-2);
}

TEST(AddBias, ComplexProducts) {
  auto complex = [](const mx::array& a, const mx::array& b) { return a + mx::array(mx::complex64_t{0, 1}) * b; };
  const auto x = complex(random({3, 8}, 1), random({3, 8}, 2)), weight = complex(random({2, 5, 4}, 3), random({2, 5, 4}, 4));
  const auto bias = complex(random({10}, 5), random({10}, 6)), dy = complex(random({3, 10}, 7), random({3, 10}, 8));
  const auto y = ops::blockdiag_multiply(x, weight, bias);
  expect_near(mx::real(y), mx::real(ops::blockdiag_multiply(x, weight) + bias), 1e-6);
  const auto gradients = mx::vjp([&](const Arrays& in) { return Arrays{ops::blockdiag_multiply(x, weight, in[0])}; }, {bias}, {dy}).second;
  expect_near(mx::real(gradients[0]), mx::real(mx::sum(dy, 0)), 1e-6);
  expect_near(mx::imag(gradients[0]), mx::imag(mx::sum(dy, 0)), 1e-6);
}

struct RowSum {
  const char* name;
  Function f;
  Arrays in;  // float32; the last `sums` of them have the gradients
  size_t sums = 1;
};

// In half precision a sum of 32,768 rows would be wrong by percents, or not finite. MLX's own layer_norm sums well.
TEST(SumsOfManyRows, ArePrecise) {
  constexpr int N = 32768, H = 16;
  const auto x = random({1, N, H}, 1), bias = random({H}, 2), weight = random({H, H}, 3), blocks = random({2, H / 2, H / 2}, 4);
  const auto index = mx::astype(mx::remainder(mx::arange(N), mx::array(3)), mx::int32);
  const RowSum cases[] = {
      {"add_bias", [](const Arrays& in) { return ops::add_bias(in[0], in[1]); }, {x, bias}},
      {"linear", [](const Arrays& in) { return ops::linear(in[0], in[1], in[2]); }, {x, weight, bias}, 2},
      {"linear_fallback", [](const Arrays& in) { return ops::linear_fallback(in[0], in[1], in[2]); }, {x, weight, bias}, 2},
      {"blockdiag", [](const Arrays& in) { return ops::blockdiag_multiply(in[0], in[1], in[2]); }, {x, blocks, bias}, 2},
      {"blockdiag_fallback", [](const Arrays& in) { return ops::blockdiag_multiply_fallback(in[0], in[1], in[2]); }, {x, blocks, bias}, 2},
      {"fused_bias_dropout_add", [](const Arrays& in) { return ops::fused_bias_dropout_add(in[0], in[1], in[0], 0, {}); }, {x, bias}},
      {"depthwise_conv1d_causal",
       [](const Arrays& in) { return ops::depthwise_conv1d_causal(in[0], in[1], in[2]); },
       {x, random({H, 1, 3}, 5), bias},
       2},
      {"layer_norm", [](const Arrays& in) { return ops::layer_norm(in[0], std::nullopt, in[1], in[2], 1e-5f); }, {x, bias + 1, bias}, 2},
      {"layer_norm_fallback",
       [](const Arrays& in) { return ops::layer_norm_fallback(in[0], std::nullopt, in[1], in[2], 1e-5f); },
       {x, bias + 1, bias},
       2},
      {"embedding_rows", [&](const Arrays& in) { return ops::embedding_rows(in[0], index); }, {random({3, H}, 6)}},
      {"embedding_norm_fallback",
       [&](const Arrays& in) {
         return ops::embedding_norm_fallback({{{in[0]}, index}}, {mx::ones({H}), mx::zeros({H}), 1e-5f}, mx::float32);
       },
       {random({3, H}, 6)}},
  };
  for (const auto dtype : {mx::bfloat16, mx::float16}) {
    for (const auto& c : cases) {
      SCOPED_TRACE(::testing::Message() << dtype << " " << c.name);
      Arrays narrow, wide;
      for (const auto& a : c.in) narrow.push_back(mx::astype(a, dtype)), wide.push_back(mx::astype(narrow.back(), mx::float32));
      const auto dy = random(c.f(wide).shape(), 9, dtype);
      const auto found = gradients_of(c.f, narrow, dy), expected = gradients_of(c.f, wide, dy);
      for (size_t i = c.in.size() - c.sums; i < c.in.size(); ++i) {
        SCOPED_TRACE(i);
        EXPECT_EQ(found[i].dtype(), dtype);
        expect_near(found[i], expected[i], 1.5e-2);
      }
    }
  }
}

}  // namespace
}  // namespace m2bert
