#include "m2bert/ops/cross_entropy.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "plain.h"
#include "tests/ops/cpu_kernels.h"

namespace m2bert {
namespace {

using namespace testing_ops;

mx::array labels_for(int rows, int classes) { return mx::remainder(mx::arange(rows) * mx::array(7), mx::array(classes)); }

PlainOp plain(const mx::array& labels) {
  return [which = Plain(labels)](const std::vector<Plain>& in) {
    const Plain& x = in[0];
    Plain y(mx::Shape{x.dim(0)});
    for (int r = 0; r < x.dim(0); ++r) {
      double sum = 0;
      for (int c = 0; c < x.dim(1); ++c) sum += std::exp(x(r, c));
      y(r) = std::log(sum) - x(r, int(which(r)));
    }
    return y;
  };
}

TEST(CrossEntropyRows, FollowsItsDefinitionWithGradients) {
  for (auto op : {ops::cross_entropy_rows, ops::cross_entropy_rows_fallback}) {
    for (auto [rows, classes] : {std::pair{1, 1}, {3, 5}, {4, 16}, {2, 37}}) {
      const auto labels = labels_for(rows, classes);
      expect_as_plain([&](const auto& in) { return op(in[0], labels, {}); }, plain(labels), {random({rows, classes}, rows)}, 1e-5);
    }
  }
}

TEST(CrossEntropyRows, EqualsFallbackForLargeValuesAndManyClasses) {
  const auto labels = labels_for(20, 1003);
  const auto x = random({20, 1003}, 1) * mx::array(50.0f), cotangent = random({20}, 2);
  auto ours = [&](const auto& in) { return ops::cross_entropy_rows(in[0], labels); };
  auto fallback = [&](const auto& in) { return ops::cross_entropy_rows_fallback(in[0], labels); };
  expect_near(ours(std::vector{x}), fallback(std::vector{x}), 1e-6);
  expect_near(gradients(ours, {x}, cotangent)[0], gradients(fallback, {x}, cotangent)[0], 1e-5);
  const auto half = mx::astype(x, mx::bfloat16);
  const auto wide = mx::astype(half, mx::float32);
  expect_near(ours(std::vector{half}), fallback(std::vector{wide}), 1e-6);
  const auto g = gradients(ours, {half}, cotangent)[0];
  EXPECT_EQ(g.dtype(), mx::bfloat16);
  expect_near(g, gradients(fallback, {wide}, cotangent)[0], 4e-3);
}

TEST(CrossEntropyRows, NaNAndInfinityStay) {
  const auto labels = mx::array({0, 0, 0});
  auto x = mx::array({1.0f, NAN, 2.0f, INFINITY, 0.0f, 0.0f}, {3, 2});
  const auto y = ops::cross_entropy_rows(x, labels);
  EXPECT_TRUE(std::isnan(mx::take(y, 0).item<float>()));
  EXPECT_FALSE(std::isfinite(mx::take(y, 1).item<float>()));
  EXPECT_NEAR(mx::take(y, 2).item<float>(), std::log(2.0), 1e-6);
}

TEST(CrossEntropyRows, ALabelOutsideTheClassesIsNaN) {
  if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
  const auto y = ops::cross_entropy_rows(random({2, 3}, 1), mx::array({3, -1}));
  EXPECT_TRUE(mx::all(mx::isnan(y)).item<bool>());
}

TEST(CrossEntropyRows, NamesWhatIsWrong) {
  for (auto op : {ops::cross_entropy_rows, ops::cross_entropy_rows_fallback}) {
    EXPECT_THROW(op(random({2, 3, 4}, 1), mx::array({0, 1}), {}), Error);
    EXPECT_THROW(op(random({2, 3}, 1), mx::array({0, 1, 2}), {}), Error);
    EXPECT_THROW(op(random({2, 3}, 1), mx::array({0.0f, 1.0f}), {}), Error);
    EXPECT_THROW(op(mx::zeros({2, 3}, mx::int32), mx::array({0, 1}), {}), Error);
  }
}

}  // namespace
}  // namespace m2bert
