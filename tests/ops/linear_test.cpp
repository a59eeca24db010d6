#include "m2bert/ops/linear.h"

#include "m2bert/error.h"
#include "m2bert/ops/monarch.h"
#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

struct Sizes {
  mx::Shape rows;
  int nb, q, p;
};

std::ostream& operator<<(std::ostream& out, const Sizes& s) { return out << s.rows << " x [" << s.nb << ", " << s.q << ", " << s.p << "]"; }

class BlockdiagMultiply : public ::testing::TestWithParam<Sizes> {
 protected:
  std::vector<mx::array> inputs(mx::Dtype dtype) const {
    const auto& s = GetParam();
    auto shape = s.rows;
    shape.push_back(s.nb * s.p);
    return {random(shape, 1, dtype), random({s.nb, s.q, s.p}, 2, dtype), random({s.nb * s.q}, 3, dtype)};
  }
  static mx::array fast(const std::vector<mx::array>& in) { return ops::blockdiag_multiply(in[0], in[1], in[2]); }
  static mx::array reference(const std::vector<mx::array>& in) { return ops::blockdiag_multiply_reference(in[0], in[1], in[2]); }
};

TEST_P(BlockdiagMultiply, KernelEqualsComposedForm) {
  auto in = inputs(mx::float32);
  expect_near(fast(in), reference(in), 1e-5);
}

TEST_P(BlockdiagMultiply, GradientsEqualComposedForm) {
  auto in = inputs(mx::float32);
  auto cotangent = random(fast(in).shape(), 4);
  auto ours = gradients(fast, in, cotangent), composed = gradients(reference, in, cotangent);
  for (size_t i = 0; i < in.size(); ++i) expect_near(ours[i], composed[i], 2e-5);
}

TEST_P(BlockdiagMultiply, BfloatStaysNearFloat) {
  auto in = inputs(mx::bfloat16);
  std::vector<mx::array> wide;
  for (const auto& a : in) wide.push_back(mx::astype(a, mx::float32));
  EXPECT_EQ(fast(in).dtype(), mx::bfloat16);
  expect_near(fast(in), reference(wide), 2e-2);
  auto cotangent = random(fast(in).shape(), 4);
  auto ours = gradients(fast, in, cotangent), full = gradients(reference, wide, cotangent);
  for (size_t i = 0; i < in.size(); ++i) expect_near(ours[i], full[i], 4e-2);
}

INSTANTIATE_TEST_SUITE_P(Shapes, BlockdiagMultiply,
                         ::testing::Values(Sizes{{5}, 4, 6, 3}, Sizes{{2, 7}, 4, 16, 8}, Sizes{{1}, 1, 1, 1}, Sizes{{3, 1, 4}, 3, 5, 7},
                                           Sizes{{33}, 1, 40, 24}, Sizes{{64}, 4, 48, 192}));

TEST(BlockdiagMultiply, EqualsTheDenseMatrix) {
  auto x = random({3, 8}, 1), w = random({2, 5, 4}, 2);
  auto left = mx::matmul(mx::slice(x, {0, 0}, {3, 4}), mx::transpose(mx::reshape(mx::slice(w, {0, 0, 0}, {1, 5, 4}), {5, 4})));
  auto right = mx::matmul(mx::slice(x, {0, 4}, {3, 8}), mx::transpose(mx::reshape(mx::slice(w, {1, 0, 0}, {2, 5, 4}), {5, 4})));
  expect_near(ops::blockdiag_multiply(x, w), mx::concatenate({left, right}, 1), 1e-5);
}

TEST(BlockdiagMultiply, TakesStridedInputsAndNoRows) {
  auto x = mx::transpose(random({8, 6}, 1)), w = random({2, 5, 4}, 2);
  expect_near(ops::blockdiag_multiply(x, w), ops::blockdiag_multiply_reference(x, w), 1e-5);
  EXPECT_EQ(ops::blockdiag_multiply(mx::zeros({0, 8}), w).shape(), (mx::Shape{0, 10}));
}

TEST(BlockdiagMultiply, NamesWrongShapes) {
  EXPECT_THROW(ops::blockdiag_multiply(random({3, 9}, 1), random({2, 5, 4}, 2)), Error);
  EXPECT_THROW(ops::blockdiag_multiply(random({3, 8}, 1), random({5, 4}, 2)), Error);
  EXPECT_THROW(ops::blockdiag_multiply(random({3, 8}, 1), random({2, 5, 4}, 2), random({9}, 3)), Error);
}

TEST(Linear, KernelEqualsComposedForm) {
  auto x = random({2, 9, 12}, 1), w = random({20, 12}, 2), b = random({20}, 3);
  expect_near(ops::linear(x, w, b), ops::linear_reference(x, w, b), 1e-5);
  expect_near(ops::linear(x, w, std::nullopt), ops::linear_reference(x, w, std::nullopt), 1e-5);
  auto f = [](const std::vector<mx::array>& in) { return ops::linear(in[0], in[1], in[2]); };
  auto g = [](const std::vector<mx::array>& in) { return ops::linear_reference(in[0], in[1], in[2]); };
  auto cotangent = random({2, 9, 20}, 4);
  auto ours = gradients(f, {x, w, b}, cotangent), composed = gradients(g, {x, w, b}, cotangent);
  for (size_t i = 0; i < 3; ++i) expect_near(ours[i], composed[i], 2e-5);
}

TEST(Linear, NamesWrongShapes) {
  EXPECT_THROW(ops::linear(random({3, 9}, 1), random({5, 4}, 2), std::nullopt), Error);
  EXPECT_THROW(ops::linear(random({3, 4}, 1), random({5, 4}, 2), random({4}, 3)), Error);
}

}  // namespace
}  // namespace m2bert
