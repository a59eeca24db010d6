#include "m2bert/ops/embedding.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

struct Case {
  std::vector<ops::EmbeddingRows> rows;
  ops::NormWeights norm;
};

// Words and positions as `dtype` or int8, types in float32.
Case make_case(int B, int L, int H, mx::Dtype dtype) {
  auto table = [&](int count, int seed) {
    const auto values = random({count, H}, seed);
    return dtype == mx::int8 ? ops::quantize_weight(values) : ops::Weight(mx::astype(values, dtype));
  };
  const auto ids = mx::random::randint(0, 50, {B, L}, mx::int32, mx::random::key(1));
  return {{{table(50, 1), ids}, {ops::Weight(random({2, H}, 2)), mx::array(1)}, {table(40, 3), mx::arange(0, L, 1, mx::int64)}},
          {mx::add(random({H}, 4), mx::array(1.0f)), random({H}, 5), 1e-12f}};
}

double largest_difference(const mx::array& a, const mx::array& b) {
  return mx::max(mx::abs(mx::subtract(mx::astype(a, mx::float32), mx::astype(b, mx::float32)))).item<float>();
}

// Rows of the table that are taken several times, once and never.
TEST(EmbeddingRows, EqualTakeWithDeterministicGradients) {
  for (const auto dtype : {mx::float32, mx::bfloat16}) {
    const auto table = random({37, 40}, 1, dtype), index = mx::random::randint(0, 20, {5, 33}, mx::int32, mx::random::key(3));
    const auto cotangent = random({5, 33, 40}, 2);
    auto gradient = [&](auto take) { return gradients([&](const auto& in) { return take(in[0]); }, {table}, cotangent)[0]; };
    auto ours = [&](const mx::array& table) { return ops::embedding_rows(table, index); };
    EXPECT_TRUE(mx::array_equal(ours(table), mx::take(table, index, 0)).item<bool>());
    const auto found = gradient(ours), wide = mx::astype(table, mx::float32);
    const auto expected = gradients([&](const auto& in) { return mx::take(in[0], index, 0); }, {wide}, cotangent)[0];
    EXPECT_EQ(found.dtype(), dtype);
    expect_near(found, expected, dtype == mx::float32 ? 1e-6 : 2e-2);
    if (ops::backend_for({}).name() == std::string("cuda")) {
      EXPECT_TRUE(mx::array_equal(found, gradient(ours)).item<bool>());
    }
  }
  for (const auto& index : {mx::array(2), mx::array({3, -1, 3}), mx::array({1, 5, 5}, mx::uint32), mx::array({4, 4}, {2, 1}, mx::int64),
                            mx::zeros({0}, mx::int32), mx::zeros({2, 0}, mx::int32)}) {
    for (const auto dtype : {mx::bfloat16, mx::float16}) {
      const auto table = random({6, 8}, 1, dtype), wide = mx::astype(table, mx::float32);
      auto shape = index.shape();
      shape.push_back(8);
      const auto cotangent = random(shape, 2);
      const auto found = gradients([&](const auto& in) { return ops::embedding_rows(in[0], index); }, {table}, cotangent)[0];
      const auto expected = gradients([&](const auto& in) { return mx::take(in[0], index, 0); }, {wide}, cotangent)[0];
      expect_near(found, expected, 1e-2);
    }
  }
  EXPECT_THROW(ops::embedding_rows(mx::zeros({3}), mx::array(0)), Error);
}

TEST(EmbeddingNorm, EqualsFallback) {
  for (const auto dtype : {mx::float32, mx::bfloat16, mx::int8}) {
    for (const int H : {16, 96, 192, 20}) {  // 20: no kernel
      const Case c = make_case(3, 37, H, dtype);
      for (const auto result : {mx::float32, mx::bfloat16}) {
        const auto fast = ops::embedding_norm(c.rows, c.norm, result), slow = ops::embedding_norm_fallback(c.rows, c.norm, result);
        EXPECT_EQ(fast.dtype(), result);
        EXPECT_EQ(fast.shape(), (mx::Shape{3, 37, H}));
        EXPECT_LE(largest_difference(fast, slow), result == mx::float32 ? 2e-5 : 4e-2) << H << " " << dtype;
      }
    }
  }
}

TEST(EmbeddingNorm, SupportsAnEmptyBatchAndOneToken) {
  const Case one = make_case(1, 1, 32, mx::float32);
  EXPECT_LE(largest_difference(ops::embedding_norm(one.rows, one.norm, mx::float32),
                               ops::embedding_norm_fallback(one.rows, one.norm, mx::float32)),
            2e-5);
  const Case none = make_case(0, 5, 32, mx::float32);
  EXPECT_EQ(ops::embedding_norm(none.rows, none.norm, mx::float32).shape(), (mx::Shape{0, 5, 32}));
}

TEST(EmbeddingNorm, AnInvalidIndexGivesNaN) {
  Case c = make_case(1, 4, 32, mx::float32);
  c.rows[0].index = mx::array({3, 50, -1, 4}, {1, 4});
  if (mx::default_device() != mx::Device::cpu) GTEST_SKIP() << "checked by the CPU kernel alone";
  const auto good = mx::all(mx::isfinite(ops::embedding_norm(c.rows, c.norm, mx::float32)), -1);
  EXPECT_TRUE(mx::array_equal(good, mx::array({true, false, false, true}, {1, 4})).item<bool>());
}

TEST(EmbeddingNorm, NamesWhatIsWrong) {
  Case c = make_case(1, 4, 32, mx::float32);
  EXPECT_THROW(ops::embedding_norm({}, c.norm, mx::float32), Error);
  EXPECT_THROW(ops::embedding_norm(c.rows, c.norm, mx::int32), Error);
  auto other = c;
  other.rows[1].table = ops::Weight(random({2, 16}, 1));
  EXPECT_THROW(ops::embedding_norm(other.rows, c.norm, mx::float32), Error);
  other = c;
  other.rows[0].index = random({1, 4}, 1);
  EXPECT_THROW(ops::embedding_norm(other.rows, c.norm, mx::float32), Error);
}

}  // namespace
}  // namespace m2bert
