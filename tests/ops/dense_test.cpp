#include "m2bert/ops/dense.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <numbers>

#include "m2bert/error.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;
using ops::GeluKind;

double plain_gelu(double x, GeluKind kind) {
  if (kind == GeluKind::exact) return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

// f(x W^T + b) for x [M, in]
PlainOp plain_dense(const std::function<double(double)>& f) {
  return [f](const std::vector<Plain>& in) {
    const Plain &x = in[0], &weight = in[1], &bias = in[2];
    Plain y(mx::Shape{x.dim(0), weight.dim(0)});
    for (int m = 0; m < y.dim(0); ++m) {
      for (int o = 0; o < y.dim(1); ++o) {
        double sum = bias(o);
        for (int i = 0; i < x.dim(1); ++i) sum += x(m, i) * weight(o, i);
        y(m, o) = f(sum);
      }
    }
    return y;
  };
}

std::vector<mx::array> inputs(int M, int in, int out) { return {random({M, in}, 1), random({out, in}, 2), random({out}, 3)}; }

struct Form {
  Op op;
  PlainOp plain;
};
std::vector<Form> forms() {
  std::vector<Form> all;
  auto same = plain_dense([](double x) { return x; });
  all.push_back({[](const auto& in) { return ops::fused_dense(in[0], in[1], in[2]); }, same});
  all.push_back({[](const auto& in) { return ops::fused_dense_fallback(in[0], in[1], in[2]); }, same});
  for (auto kind : {GeluKind::exact, GeluKind::tanh}) {
    auto plain = plain_dense([kind](double x) { return plain_gelu(x, kind); });
    all.push_back({[kind](const auto& in) { return ops::fused_dense_gelu(in[0], in[1], in[2], kind); }, plain});
    all.push_back({[kind](const auto& in) { return ops::fused_dense_gelu_fallback(in[0], in[1], in[2], kind); }, plain});
  }
  return all;
}

TEST(FusedDense, EqualsItsDefinition) {
  for (const auto& [op, plain] : forms()) {
    expect_as_plain(op, plain, inputs(4, 5, 7), 1e-5);
    expect_as_plain(op, plain, inputs(1, 1, 1), 1e-5);
    expect_value_as_plain(op, plain, inputs(9, 16, 8), mx::bfloat16, 2e-2);
    expect_value_as_plain(op, plain, inputs(9, 16, 8), mx::float16, 3e-3);
  }
}

RC_GTEST_PROP(FusedDense, FormsAgree, ()) {
  const auto size = rc::gen::inRange(1, 24);
  const int B = *size, S = *size, in = *size, out = *size;
  std::vector<mx::array> x{random({B, S, in}, 1), random({out, in}, 2), random({out}, 3)};
  const auto all = forms();
  for (size_t i = 0; i < all.size(); i += 2) {
    auto y = all[i + 1].op(x), cotangent = random({B, S, out}, 4);
    // Sums of up to 529 terms near 1 may cancel to a result near 0; the tolerance is then relative to the terms.
    auto near = [](const mx::array& a, const mx::array& b) { return a.shape() == b.shape() && relative_error(a, b, 1) <= 2e-5; };
    RC_ASSERT(near(all[i].op(x), y));
    auto ours = gradients(all[i].op, x, cotangent), fallback = gradients(all[i + 1].op, x, cotangent);
    for (size_t n = 0; n < 3; ++n) RC_ASSERT(near(ours[n], fallback[n]));
  }
}

TEST(FusedDense, GradientsOfSomeInputs) {
  auto in = inputs(4, 5, 7);
  auto cotangent = random({4, 7}, 4);
  for (const auto& [op, plain] : forms()) {
    auto all = gradients(op, in, cotangent);
    for (int one = 0; one < 3; ++one) {
      auto loss = [&, &f = op](const std::vector<mx::array>& x) { return mx::sum(f(x) * cotangent); };
      expect_near(mx::grad(loss, std::vector<int>{one})(in)[0], all[size_t(one)], 1e-6);
    }
  }
}

TEST(FusedDense, NoRows) {
  for (const auto& [op, plain] : forms()) {
    auto in = inputs(3, 5, 7);
    in[0] = mx::zeros({0, 5});
    EXPECT_EQ(op(in).shape(), (mx::Shape{0, 7}));
    auto g = gradients(op, in, mx::zeros({0, 7}));
    EXPECT_EQ(mx::max(mx::abs(g[1])).item<float>(), 0);
  }
}

TEST(FusedDense, NamesWhatIsWrong) {
  auto in = inputs(3, 5, 7);
  for (const auto& [op, plain] : forms()) {
    EXPECT_THROW(op({random({3, 4}, 1), in[1], in[2]}), Error);
    EXPECT_THROW(op({in[0], random({7}, 1), in[2]}), Error);
    EXPECT_THROW(op({in[0], in[1], random({5}, 1)}), Error);
    EXPECT_THROW(op({mx::astype(in[0], mx::bfloat16), in[1], in[2]}), Error);
    EXPECT_THROW(op({mx::astype(in[0], mx::int32), mx::astype(in[1], mx::int32), mx::astype(in[2], mx::int32)}), Error);
  }
}

}  // namespace
}  // namespace m2bert
