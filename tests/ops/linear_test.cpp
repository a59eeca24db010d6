#include "m2bert/ops/linear.h"

#include "m2bert/error.h"
#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

TEST(Linear, KernelEqualsFallback) {
  auto x = random({2, 9, 12}, 1), w = random({20, 12}, 2), b = random({20}, 3);
  expect_near(ops::linear(x, w, b), ops::linear_fallback(x, w, b), 1e-5);
  expect_near(ops::linear(x, w, std::nullopt), ops::linear_fallback(x, w, std::nullopt), 1e-5);
  auto f = [](const std::vector<mx::array>& in) { return ops::linear(in[0], in[1], in[2]); };
  auto g = [](const std::vector<mx::array>& in) { return ops::linear_fallback(in[0], in[1], in[2]); };
  auto cotangent = random({2, 9, 20}, 4);
  auto ours = gradients(f, {x, w, b}, cotangent), fallback = gradients(g, {x, w, b}, cotangent);
  for (size_t i = 0; i < 3; ++i) expect_near(ours[i], fallback[i], 2e-5);
}

TEST(Linear, NamesWrongShapes) {
  EXPECT_THROW(ops::linear(random({3, 9}, 1), random({5, 4}, 2), std::nullopt), Error);
  EXPECT_THROW(ops::linear(random({3, 4}, 1), random({5, 4}, 2), random({4}, 3)), Error);
}

}  // namespace
}  // namespace m2bert
