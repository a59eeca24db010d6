#include "m2bert/ops/packed_linear.h"
#include "m2bert/ops/cpu_features.h"

#include <gtest/gtest.h>

#include <numeric>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/layer_norm.h"
#include "m2bert/threads.h"
#include "near.h"
#include "tests/ops/cpu_kernels.h"

namespace m2bert {
namespace {

using namespace testing_ops;
using ops::LinearWeights;

LinearWeights weights(int out, int in, int seed, mx::Dtype dtype = mx::float32) {
  auto values = random({out, in}, seed) * mx::array(1 / std::sqrt(float(in)));
  return {dtype == mx::int8 ? ops::quantize_weight(values) : ops::Weight(mx::astype(values, dtype)), random({out}, seed + 1)};
}

ops::NormWeights norm(int out) { return {random({out}, 7), random({out}, 8), 1e-6f}; }

mx::array fallback(const mx::array& x, const std::vector<LinearWeights>& layers, const std::optional<ops::NormWeights>& norm,
                   const std::optional<mx::array>& residual) {
  std::vector<mx::array> parts;
  for (const auto& l : layers) parts.push_back(ops::weight_matmul(x, l.weight, l.bias));
  const auto y = mx::concatenate(parts, -1);
  return norm ? ops::layer_norm_fallback(y, *residual, norm->weight, norm->bias, norm->eps) : y;
}

struct Case {
  std::vector<int> outs;
  int in;
  bool norm;
};

class PackedLinear : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
  }
  // Two results for an input of `dtype` and weights of `of`: with packed weights, and the fallback in float32.
  static std::pair<mx::array, mx::array> both(int rows, mx::Dtype dtype, mx::Dtype of) {
    const auto& c = GetParam();
    std::vector<LinearWeights> layers, wide;
    for (int out : c.outs) layers.push_back(weights(out, c.in, out, of));
    wide = layers;
    for (auto& l : wide) {
      if (!l.weight.scale) l.weight.values = mx::astype(l.weight.values, mx::float32);
    }
    const int total = std::accumulate(c.outs.begin(), c.outs.end(), 0);
    const auto n = c.norm ? std::optional(norm(total)) : std::nullopt;
    const auto x = random({rows, c.in}, rows, dtype);
    const auto residual = c.norm ? std::optional(random({rows, total}, 9, dtype)) : std::nullopt;
    auto float32 = [](const mx::array& a) { return mx::astype(a, mx::float32); };
    const auto y = (*ops::pack_linear(layers, n))(x, residual);
    EXPECT_EQ(y.dtype(), dtype);
    return {y, fallback(float32(x), wide, n, residual ? std::optional(float32(*residual)) : std::nullopt)};
  }
};

TEST_P(PackedLinear, EqualsFallback) {
  for (int rows : {1, 6, 16, 47, 130, 300}) {
    const auto [y, expected] = both(rows, mx::float32, mx::float32);
    expect_near(y, expected, 1e-5);
  }
}

TEST_P(PackedLinear, Bfloat16IsCloseToFloat32) {
  if (!ops::supports_bfloat16_gemm()) GTEST_SKIP() << "this CPU has no bfloat16 products";
  const auto [y, expected] = both(130, mx::bfloat16, mx::bfloat16);
  expect_near(y, expected, 2e-2);
}

TEST_P(PackedLinear, Int8EqualsFallback) {
  if (!ops::supports_int8_gemm()) GTEST_SKIP() << "this CPU has no int8 products";
  const auto [y, expected] = both(130, mx::float32, mx::int8);
  expect_near(y, expected, 1e-4);
  if (!ops::supports_bfloat16_gemm()) return;
  const auto [narrow, wide] = both(130, mx::bfloat16, mx::int8);
  expect_near(narrow, wide, 2e-2);
}

// The number of rows decides how a GEMM cuts them into blocks, and the threads how they are cut into tiles.
TEST_P(PackedLinear, ARowHasTheSameBitsWhateverIsBesideIt) {
  const auto& c = GetParam();
  for (const auto dtype : {mx::float32, mx::bfloat16, mx::int8}) {
    if ((dtype == mx::bfloat16 && !ops::supports_bfloat16_gemm()) || (dtype == mx::int8 && !ops::supports_int8_gemm())) continue;
    std::vector<LinearWeights> layers;
    for (int out : c.outs) layers.push_back(weights(out, c.in, out, dtype));
    const int total = std::accumulate(c.outs.begin(), c.outs.end(), 0);
    const auto packed = ops::pack_linear(layers, c.norm ? std::optional(norm(total)) : std::nullopt);
    const auto in = dtype == mx::bfloat16 ? mx::bfloat16 : mx::float32;
    const auto x = random({300, c.in}, 3, in), residual = random({300, total}, 9, in);
    auto rows_of = [](const mx::array& a, int first, int count) { return mx::slice(a, {first, 0}, {first + count, a.shape(1)}); };
    auto y = [&](int first, int count) {
      return (*packed)(rows_of(x, first, count), c.norm ? std::optional(rows_of(residual, first, count)) : std::nullopt);
    };
    const auto all = y(0, 300);
    for (int threads : {0, 1}) {
      set_threads(threads);
      for (int count = 1; count <= 130; ++count) {
        for (int first : {0, 300 - count}) {
          ASSERT_TRUE(mx::array_equal(y(first, count), rows_of(all, first, count)).item<bool>()) << count << " rows from " << first;
        }
      }
    }
    set_threads(0);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, PackedLinear,
                         ::testing::Values(Case{{48}, 32, false}, Case{{64, 64, 64}, 64, false}, Case{{800}, 16, false},
                                           Case{{48}, 32, true}, Case{{1008}, 48, true}, Case{{32, 400}, 848, false},
                                           Case{{48}, 1536, true}));

TEST(PackedLinear, ReturnsNullForUnsupportedWeights) {
  EXPECT_EQ(ops::pack_linear({weights(24, 32, 1)}), nullptr);
  EXPECT_EQ(ops::pack_linear({weights(32, 24, 1)}), nullptr);
  EXPECT_EQ(ops::pack_linear({weights(32, 32, 1, mx::float16)}), nullptr);
  EXPECT_EQ(ops::pack_linear({weights(32, 32, 1, mx::int8)}) != nullptr, testing_ops::has_cpu_kernels() && ops::supports_int8_gemm());
  EXPECT_EQ(ops::pack_linear({weights(32, 32, 1), weights(32, 32, 1, mx::int8)}), nullptr);
}

TEST(PackedLinear, NamesWhatIsWrong) {
  EXPECT_THROW(ops::pack_linear({}), Error);
  if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
  EXPECT_THROW(ops::pack_linear({weights(32, 32, 1), weights(32, 48, 1)}), Error);
  EXPECT_THROW(ops::pack_linear({weights(32, 32, 1)}, norm(48)), Error);
  const auto plain = ops::pack_linear({weights(32, 48, 1)}), normed = ops::pack_linear({weights(32, 48, 1)}, norm(32));
  const auto x = random({3, 48}, 1);
  EXPECT_THROW((*plain)(random({3, 32}, 1)), Error);
  EXPECT_THROW((*plain)(x, random({3, 32}, 1)), Error);
  EXPECT_THROW((*normed)(x), Error);
  EXPECT_THROW((*normed)(x, random({4, 32}, 1)), Error);
  EXPECT_THROW((*plain)(mx::astype(x, mx::bfloat16)), Error);
  EXPECT_EQ((*plain)(mx::zeros({0, 48})).shape(), (mx::Shape{0, 32}));
}

}  // namespace
}  // namespace m2bert
