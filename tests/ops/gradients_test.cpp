#include "m2bert/ops/gradients.h"

#include <cmath>

#include "m2bert/error.h"
#include "m2bert/threads.h"
#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

std::vector<mx::array> arrays(int seed) {
  return {random({1}, seed), random({17}, seed + 1), random({300, 301}, seed + 2), mx::transpose(random({40, 70}, seed + 3))};
}

TEST(GlobalNorm, EqualsDouble) {
  const auto all = arrays(1);
  double sum = 0;
  for (const auto& a : all) {
    auto flat = mx::contiguous(mx::flatten(a));
    flat.eval();
    for (size_t i = 0; i < flat.size(); ++i) sum += double(flat.data<float>()[i]) * flat.data<float>()[i];
  }
  EXPECT_NEAR(ops::global_norm(all), std::sqrt(sum), 2e-6 * std::sqrt(sum));
  EXPECT_NEAR(ops::global_norm_fallback(all), std::sqrt(sum), 2e-5 * std::sqrt(sum));
  EXPECT_EQ(ops::global_norm({}), 0);
}

TEST(SumOfSquares, IsTheSquareOfTheNorm) {
  const auto all = arrays(1);
  auto sum = ops::sum_of_squares(all), nothing = ops::sum_of_squares({});
  const double norm = ops::global_norm_fallback(all);
  EXPECT_NEAR(sum.item<float>(), norm * norm, 2e-5 * norm * norm);
  EXPECT_EQ(nothing.item<float>(), 0);
}

TEST(FlattenTogether, UnflattenIsItsInverse) {
  for (const size_t count : {1, 3, 32, 40}) {
    std::vector<mx::array> all;
    std::vector<mx::Shape> shapes;
    for (size_t i = 0; i < count; ++i) {
      shapes.push_back(i % 3 == 0 ? mx::Shape{int(i) + 1} : mx::Shape{2, int(i) + 1, 3});
      all.push_back(random(shapes.back(), int(i)));
    }
    const auto flat = ops::flatten_together(all);
    EXPECT_TRUE(mx::array_equal(flat, ops::flatten_together_fallback(all)).item<bool>());
    const auto again = ops::unflatten(flat, shapes);
    for (size_t i = 0; i < count; ++i) EXPECT_TRUE(mx::array_equal(all[i], again[i]).item<bool>());
  }
  EXPECT_EQ(ops::flatten_together({}).size(), 0U);
  EXPECT_THROW(ops::unflatten(mx::zeros({5}), {{2, 3}}), Error);
}

TEST(GlobalNorm, IsTheSameForEveryNumberOfThreads) {
  const int before = threads();
  const auto all = arrays(5);
  set_threads(1);
  const double one = ops::global_norm(all);
  set_threads(3);
  EXPECT_EQ(ops::global_norm(all), one);
  set_threads(before);
}

TEST(GlobalNorm, ShowsNaNAndInfinity) {
  auto all = arrays(9);
  all.push_back(mx::array({1.0f, NAN}));
  EXPECT_TRUE(std::isnan(ops::global_norm(all)));
  all.back() = mx::array({1.0f, INFINITY});
  EXPECT_TRUE(std::isinf(ops::global_norm(all)));
}

TEST(Axpby, EqualsFallback) {
  for (const auto& [a, b] : {std::pair{1.0, 0.25}, std::pair{0.999, 0.001}, std::pair{0.0, 1.0}, std::pair{1.0, 1.0}}) {
    auto ours = arrays(1), theirs = arrays(1);
    const auto x = arrays(100);
    std::vector<mx::array*> our_y, their_y;
    for (size_t i = 0; i < ours.size(); ++i) {
      our_y.push_back(&ours[i]);
      their_y.push_back(&theirs[i]);
    }
    ops::axpby(our_y, x, a, b);
    ops::axpby_fallback(their_y, x, a, b);
    for (size_t i = 0; i < ours.size(); ++i) expect_near(ours[i], theirs[i], 3e-7);
  }
}

TEST(Axpby, LeavesCopiesUnchanged) {
  auto y = random({50, 3}, 1);
  const auto kept = y, before = y + mx::array(0.0f);
  mx::eval({y, before});
  ops::axpby({&y}, {random({50, 3}, 2)}, 1, 1);
  EXPECT_TRUE(mx::array_equal(kept, before).item<bool>());
}

TEST(Axpby, RejectsOtherShapes) {
  auto y = random({2, 3}, 1);
  EXPECT_THROW(ops::axpby({&y}, {random({3, 2}, 2)}, 1, 1), Error);
  EXPECT_THROW(ops::axpby({&y}, {}, 1, 1), Error);
}

}  // namespace
}  // namespace m2bert
