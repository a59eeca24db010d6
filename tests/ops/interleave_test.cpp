#include "m2bert/ops/interleave.h"

#include <mlx/primitives.h>

#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

// Whether `array` is computed from the one with this id.
bool reads(const mx::array& array, std::uintptr_t id) {
  if (array.id() == id) return true;
  return std::ranges::any_of(array.inputs(), [&](const mx::array& in) { return reads(in, id); });
}

std::vector<mx::array> inputs() { return {random({4, 3}, 1), random({5}, 2), random({2, 2}, 3)}; }

TEST(Interleave, KeepsTheValues) {
  const auto in = inputs();
  const auto out = ops::interleave(in[0], {in[1], in[2]});
  ASSERT_EQ(out.size(), 3U);
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(mx::array_equal(in[i], out[i]).item<bool>());
  EXPECT_EQ(ops::interleave(in[0], {}).size(), 1U);
}

TEST(Interleave, TheSideWaitsForX) {
  const auto in = inputs();
  const auto out = ops::interleave(in[0], {in[1], in[2]});
  EXPECT_TRUE(reads(out[1], in[0].id()));
  EXPECT_TRUE(reads(out[2], in[0].id()));
}

// The gradients are those without it; that of x waits for the one of the side.
TEST(Interleave, TheGradientOfXWaitsForTheSide) {
  auto f = [](bool interleaved) {
    return [interleaved](const std::vector<mx::array>& in) {
      const auto a = interleaved ? ops::interleave(in[0], {in[1]}) : in;
      return mx::sum(mx::square(a[0])) + mx::sum(mx::exp(a[1]));
    };
  };
  const auto in = inputs();
  auto gradients = [&](bool interleaved) { return mx::value_and_grad(f(interleaved), std::vector<int>{0, 1})({in[0], in[1]}).second; };
  const auto plain = gradients(false), made = gradients(true);
  for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(mx::array_equal(plain[i], made[i]).item<bool>());
  const auto lazy = gradients(true);
  auto depth_first = [](const mx::array& a, const auto& self) -> bool {
    return (a.has_primitive() && std::string(a.primitive().name()) == "Exp") ||
           std::ranges::any_of(a.inputs(), [&](const mx::array& in) { return self(in, self); });
  };
  EXPECT_TRUE(depth_first(lazy[0], depth_first));
  const auto without = gradients(false);
  EXPECT_FALSE(depth_first(without[0], depth_first));
}

// A view of an array that an earlier operation of a GPU's stream computes; any other array itself.
TEST(InOrder, KeepsTheValues) {
  const auto stream = mx::default_stream(mx::default_device());
  const auto lazy = random({4, 3}, 1) + random({4, 3}, 2);
  EXPECT_EQ(ops::in_order(lazy, stream).id(), lazy.id());
  mx::async_eval({lazy});
  const auto same = ops::in_order(lazy, stream);
  EXPECT_TRUE(mx::array_equal(mx::square(same), mx::square(lazy)).item<bool>());
  if (stream.device == mx::Device::cpu) {
    EXPECT_EQ(same.id(), lazy.id());
  }
}

}  // namespace
}  // namespace m2bert
