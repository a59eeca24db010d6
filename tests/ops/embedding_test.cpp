#include "m2bert/ops/embedding.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
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
