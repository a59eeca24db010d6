#include "m2bert/ops/cast.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

bool same(const mx::array& a, const mx::array& b) { return a.dtype() == b.dtype() && mx::array_equal(a, b, true).item<bool>(); }

TEST(Cast, EqualsFallbackWithGradients) {
  const mx::Dtype all[] = {mx::float32, mx::bfloat16, mx::float16};
  for (const mx::Shape& shape : {mx::Shape{}, {1}, {15}, {3, 5, 7}, {300, 128}, {0, 4}}) {
    for (auto from : all) {
      for (auto to : all) {
        const auto x = random(shape, 1, from);
        EXPECT_TRUE(same(ops::cast(x, to), ops::cast_fallback(x, to)));
        const auto cotangent = random(shape, 2);
        auto gradient = [&](auto form) { return gradients([&](const auto& in) { return form(in[0], to, {}); }, {x}, cotangent)[0]; };
        EXPECT_TRUE(same(gradient(ops::cast), gradient(ops::cast_fallback)));
      }
    }
  }
}

// As many arrays as fill no, one or several launches of a GPU's kernel, some of them views; the gradient of some results alone.
TEST(CastArrays, EqualsFallbackWithGradients) {
  for (const int count : {0, 1, 15, 16, 17, 40}) {
    std::vector<mx::array> arrays;
    for (int i = 0; i < count; ++i) {
      const auto x = random({3 + i, 7}, i);
      arrays.push_back(i % 4 == 1 ? mx::transpose(x) : i % 4 == 2 ? mx::slice(x, {1, 0}, {3 + i, 7}) : x);
    }
    for (const auto dtype : {mx::bfloat16, mx::float16, mx::float32}) {
      const auto found = ops::cast_arrays(arrays, dtype), expected = ops::cast_arrays_fallback(arrays, dtype);
      ASSERT_EQ(found.size(), arrays.size());
      for (size_t i = 0; i < found.size(); ++i) EXPECT_TRUE(same(found[i], expected[i])) << count << " " << i;
      if (count == 0) continue;
      auto gradients_of = [&](auto form) {
        auto f = [&](const std::vector<mx::array>& in) {
          auto sum = mx::array(0.0f);
          const auto out = form(in, dtype, mx::StreamOrDevice{});
          for (size_t i = 0; i < out.size(); i += 3) sum = sum + mx::sum(mx::square(mx::astype(out[i], mx::float32)));
          return std::vector<mx::array>{sum};
        };
        return mx::vjp(f, arrays, {mx::array(1.0f)}).second;
      };
      const auto of_kernel = gradients_of(ops::cast_arrays), of_fallback = gradients_of(ops::cast_arrays_fallback);
      for (size_t i = 0; i < arrays.size(); ++i) EXPECT_TRUE(same(of_kernel[i], of_fallback[i])) << count << " " << i;
    }
  }
}

TEST(Cast, RoundsToTheNearestTiesToEven) {
  const float infinite = std::numeric_limits<float>::infinity();
  const std::vector<float> values{1,      -1, 1.00390625f, 1.01171875f, 1.0039063f, -1.0039063f, 3.4e38f, infinite, -infinite,
                                  1e-45f, 0,  -0.0f,       2,           3,          4,           5,       NAN};
  const auto x = mx::array(values.data(), {int(values.size())});
  const auto y = ops::cast(x, mx::bfloat16);
  EXPECT_TRUE(same(y, mx::astype(x, mx::bfloat16)));
  // 1 + 1/256 and 1 + 3/256 lie halfway between two bfloat16 values.
  auto wide = ops::cast(y, mx::float32);
  wide.eval();
  EXPECT_EQ(wide.data<float>()[2], 1);
  EXPECT_EQ(wide.data<float>()[3], 1.015625f);
  EXPECT_TRUE(std::isnan(wide.data<float>()[16]));
}

TEST(Cast, SupportsViewsAndSecondDerivatives) {
  const auto x = random({40, 30}, 1);
  for (const auto& view :
       {mx::transpose(x), mx::slice(x, {1, 2}, {40, 30}, {3, 2}), mx::broadcast_to(mx::slice(x, {0, 0}, {1, 30}), {5, 30})})
    EXPECT_TRUE(same(ops::cast(view, mx::bfloat16), mx::astype(view, mx::bfloat16)));
  auto cube = [](const mx::array& v) { return mx::sum(mx::power(ops::cast(ops::cast(v, mx::bfloat16), mx::float32), mx::array(3.0f))); };
  const auto second = mx::grad([&](const mx::array& v) { return mx::sum(mx::grad(cube)(v)); })(mx::array({1.0f, 2.0f, -3.0f}));
  expect_near(second, mx::array({6.0f, 12.0f, -18.0f}), 1e-2);
}

TEST(Cast, OtherDtypesUseAstype) {
  EXPECT_TRUE(same(ops::cast(mx::array({1, 2, 3}), mx::bfloat16), mx::array({1.0f, 2.0f, 3.0f}, mx::bfloat16)));
  EXPECT_TRUE(same(ops::cast(mx::array({1.5f, 2.5f}), mx::int32), mx::array({1, 2}, mx::int32)));
}

}  // namespace
}  // namespace m2bert
