#include "m2bert/ops/adamw.h"

#include <cmath>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/threads.h"
#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

// A trained array with its gradient and moments, as in the middle of a run.
struct Trained {
  mx::array value, gradient, m, v;
  Trained(const mx::Shape& shape, int seed)
      : value(random(shape, seed)), gradient(random(shape, seed + 1)), m(random(shape, seed + 2)), v(mx::square(random(shape, seed + 3))) {}
};

std::vector<Trained> arrays() {
  std::vector<Trained> all;
  int seed = 1;
  for (const mx::Shape& shape : {mx::Shape{1}, mx::Shape{3, 5}, mx::Shape{7, 64}, mx::Shape{40000}, mx::Shape{2, 2, 9}}) {
    all.emplace_back(shape, seed);
    seed += 10;
  }
  return all;
}

std::vector<ops::AdamWParameter> parameters(std::vector<Trained>& all) {
  std::vector<ops::AdamWParameter> given;
  for (auto& t : all) given.push_back({&t.value, &t.gradient, &t.m, &t.v, 3e-3, 1e-2});
  return given;
}

class AdamW : public ::testing::TestWithParam<ops::AdamWOptions> {};

TEST_P(AdamW, EqualsFallback) {
  auto ours = arrays(), theirs = arrays();
  for (int i = 0; i < 3; ++i) {
    ops::adamw_update(parameters(ours), GetParam());
    ops::adamw_update_fallback(parameters(theirs), GetParam());
  }
  for (size_t i = 0; i < ours.size(); ++i) {
    expect_near(ours[i].value, theirs[i].value, 4e-6);
    expect_near(ours[i].m, theirs[i].m, 5e-7);
    expect_near(ours[i].v, theirs[i].v, 5e-7);
  }
}

// The formula in double, value by value.
TEST_P(AdamW, EqualsTheFormula) {
  const auto& o = GetParam();
  auto all = arrays();
  const auto before = arrays();
  ops::adamw_update(parameters(all), o);
  for (size_t a = 0; a < all.size(); ++a) {
    auto p = mx::flatten(before[a].value), g = mx::flatten(before[a].gradient), m = mx::flatten(before[a].m), v = mx::flatten(before[a].v);
    auto got = mx::contiguous(mx::flatten(all[a].value));
    mx::eval({p, g, m, v, got});
    for (size_t i = 0; i < p.size(); i += 1 + p.size() / 100) {
      const double gi = std::clamp(g.data<float>()[i] * o.gradient_scale, -o.gradient_limit, o.gradient_limit);
      const double mi = o.beta1 * m.data<float>()[i] + (1 - o.beta1) * gi, vi = o.beta2 * v.data<float>()[i] + (1 - o.beta2) * gi * gi;
      const double m_hat = mi / (1 - std::pow(o.beta1, double(o.step))), v_hat = vi / (1 - std::pow(o.beta2, double(o.step)));
      const double want = p.data<float>()[i] * (1 - 1e-2) - 3e-3 * m_hat / (std::sqrt(v_hat) + o.eps);
      EXPECT_NEAR(got.data<float>()[i], want, 2e-6 * std::max(1.0, std::abs(want)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Options, AdamW,
                         ::testing::Values(ops::AdamWOptions{}, ops::AdamWOptions{0.9, 0.98, 1e-6, 1, 1, INFINITY},
                                           ops::AdamWOptions{0.9, 0.98, 1e-6, 1000, 0.25, INFINITY},
                                           ops::AdamWOptions{0.5, 0.9, 1e-3, 7, 2, 0.5}));

TEST(AdamWUpdate, LeavesCopiesUnchanged) {
  std::vector<Trained> one{Trained({1000}, 3)};
  mx::eval({one[0].value, one[0].m, one[0].v});
  const auto kept = one[0].value, view = mx::reshape(one[0].m, {10, 100});
  const auto kept_values = mx::array(kept.data<float>(), {1000}), view_values = mx::array(one[0].m.data<float>(), {10, 100});
  ops::adamw_update(parameters(one), {});
  EXPECT_TRUE(mx::array_equal(kept, kept_values).item<bool>());
  EXPECT_TRUE(mx::array_equal(view, view_values).item<bool>());
  EXPECT_FALSE(mx::array_equal(one[0].value, kept_values).item<bool>());
}

TEST(AdamWUpdate, WritesInPlaceIfNothingElseRefersToTheArray) {
  if (!ops::has_kernels({})) GTEST_SKIP() << "without kernels";
  std::vector<Trained> one{Trained({1000}, 3)}, other{Trained({1000}, 3)};
  mx::eval({one[0].value, one[0].gradient, one[0].m, one[0].v});
  const auto id = one[0].value.id();
  const void* memory = one[0].value.buffer().ptr();
  for (int step = 1; step <= 2; ++step) {
    ops::adamw_update(parameters(one), {.step = step});
    ops::adamw_update_fallback(parameters(other), {.step = step});
  }
#ifdef __linux__
  EXPECT_EQ(one[0].value.id(), id);
  EXPECT_EQ(one[0].value.buffer().ptr(), memory);
#endif
  expect_near(one[0].value, other[0].value, 1e-6);  // readers wait for the kernels
}

TEST(AdamWUpdate, IsTheSameForEveryNumberOfThreads) {
  const int before = threads();
  auto one = arrays(), many = arrays();
  set_threads(1);
  ops::adamw_update(parameters(one), {});
  set_threads(3);
  ops::adamw_update(parameters(many), {});
  set_threads(before);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(mx::array_equal(one[i].value, many[i].value).item<bool>());
}

TEST(AdamWUpdate, KeepsNaN) {
  std::vector<Trained> one{Trained({100}, 3)};
  one[0].gradient = mx::full({100}, NAN);
  ops::adamw_update(parameters(one), {.gradient_limit = 1});
  EXPECT_TRUE(mx::all(mx::isnan(one[0].value)).item<bool>());
}

// Also as an array, which is read later.
TEST(AdamWUpdate, ScalesByAnArray) {
  auto number = arrays(), array = arrays(), fallback = arrays();
  ops::adamw_update(parameters(number), {.gradient_scale = 0.25});
  ops::AdamWOptions o;
  o.scale_array = mx::array(0.5f) * mx::array(0.5f);
  ops::adamw_update(parameters(array), o);
  ops::adamw_update_fallback(parameters(fallback), o);
  for (size_t i = 0; i < number.size(); ++i) {
    EXPECT_TRUE(mx::array_equal(number[i].value, array[i].value).item<bool>());
    expect_near(fallback[i].value, array[i].value, 4e-6);
  }
}

TEST(AdamWUpdate, KeepsEverythingIfTheScaleIsNaN) {
  auto all = arrays();
  const auto before = arrays();
  ops::AdamWOptions o;
  o.scale_array = mx::array(NAN);
  ops::adamw_update(parameters(all), o);
  ops::adamw_update_fallback(parameters(all), o);
  ops::adamw_update(parameters(all), {.gradient_scale = NAN});
  ops::adamw_update_fallback(parameters(all), {.gradient_scale = NAN});
  for (size_t i = 0; i < all.size(); ++i) {
    for (const auto part : {&Trained::value, &Trained::m, &Trained::v}) {
      EXPECT_TRUE(mx::array_equal(all[i].*part, before[i].*part).item<bool>());
    }
  }
}

TEST(AdamWUpdate, RejectsOtherShapesAndDtypes) {
  std::vector<Trained> one{Trained({4, 5}, 3)};
  one[0].gradient = random({5, 4}, 1);
  EXPECT_THROW(ops::adamw_update(parameters(one), {}), Error);
  one[0].gradient = random({4, 5}, 1, mx::bfloat16);
  try {
    ops::adamw_update(parameters(one), {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "[adamw_update] an array has dtype bfloat16, wants float32");
  }
}

}  // namespace
}  // namespace m2bert
