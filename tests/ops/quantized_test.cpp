#include "m2bert/ops/quantized.h"

#include <gtest/gtest.h>

#include <bit>

#include "m2bert/error.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

TEST(QuantizeWeight, IsWithinHalfAStepOfEachRow) {
  for (const auto& shape : {mx::Shape{5, 33}, mx::Shape{2, 3, 16}}) {
    const auto w = random(shape, 1);
    const auto q = ops::quantize_weight(w);
    EXPECT_EQ(q.values.dtype(), mx::int8);
    EXPECT_EQ(q.values.shape(), shape);
    const Plain weight(ops::rotate_columns(w)), back(ops::rotate_columns(ops::dequantize_weight(q))), scale(*q.scale);
    const size_t width = size_t(shape.back());
    ASSERT_EQ(scale.values.size() * width, weight.values.size());
    for (size_t i = 0; i < weight.values.size(); ++i) {
      EXPECT_LE(std::abs(weight.values[i] - back.values[i]), 0.501 * scale.values[i / width]);
    }
    const auto largest = mx::max(mx::abs(mx::astype(q.values, mx::int32)), -1);
    EXPECT_TRUE(mx::all(mx::equal(largest, mx::array(127))).item<bool>());
  }
}

TEST(RotateColumns, IsTheHadamardTransformOfBlocks) {
  for (int n : {1, 6, 16, 48, 64, 192}) {
    const int block = ops::rotation_block(n);
    EXPECT_EQ(n % block, 0);
    const auto x = random({3, n}, n);
    const Plain in(x), out(ops::rotate_columns(x));
    for (int r = 0; r < 3; ++r) {
      for (int c = 0; c < n; ++c) {
        double sum = 0;
        for (int j = 0; j < block; ++j) sum += (std::popcount(unsigned(j & (c % block))) % 2 ? -1 : 1) * in(r, c / block * block + j);
        EXPECT_NEAR(out(r, c), sum / std::sqrt(block), 1e-5);
      }
    }
    expect_near(ops::rotate_columns(ops::rotate_columns(x)), x, 1e-6);
  }
  EXPECT_EQ(ops::rotation_block(768), 64);
  EXPECT_EQ(ops::rotation_block(48), 16);
}

TEST(QuantizeWeight, ARowOfZerosStaysZero) {
  const auto q = ops::quantize_weight(mx::zeros({2, 16}));
  EXPECT_EQ(mx::max(mx::abs(ops::dequantize_weight(q))).item<float>(), 0);
  EXPECT_EQ(mx::min(*q.scale).item<float>(), 1);
}

TEST(QuantizeWeight, WantsFloatingMatrices) {
  EXPECT_THROW(ops::quantize_weight(mx::zeros({4})), Error);
  EXPECT_THROW(ops::quantize_weight(mx::zeros({4, 4}, mx::int8)), Error);
}

// The definition in double: rows of x are rotated and rounded to integers times their scale; an exact matmul; scaled back.
Plain plain_product(const Plain& x, const ops::Weight& weight, const Plain& bias) {
  const Plain w(mx::astype(weight.values, mx::float32)), scale(*weight.scale);
  const int blocks = weight.values.ndim() == 3 ? weight.values.shape(0) : 1, q = weight.values.shape(-2), p = weight.values.shape(-1);
  Plain y(mx::Shape{x.dim(0), blocks * q});
  for (int r = 0; r < x.dim(0); ++r) {
    for (int k = 0; k < blocks; ++k) {
      double most = 0;
      for (int j = 0; j < p; ++j) most = std::max(most, std::abs(x(r, k * p + j)));
      const double step = most > 0 ? double(float(most) / 127.0f) : 1;
      for (int i = 0; i < q; ++i) {
        double sum = 0;
        for (int j = 0; j < p; ++j)
          sum += std::nearbyint(double(float(x(r, k * p + j)) / float(step))) * w.values[size_t((k * q + i) * p + j)];
        y(r, k * q + i) = sum * step * scale.values[size_t(k * q + i)] + bias.values[size_t(k * q + i)];
      }
    }
  }
  return y;
}

TEST(WeightMatmul, Int8FollowsItsDefinition) {
  for (const auto& shape : {mx::Shape{24, 48}, mx::Shape{3, 16, 32}}) {
    const int blocks = shape.size() == 3 ? shape[0] : 1, in = blocks * shape.back(), out = blocks * shape[shape.size() - 2];
    const auto weight = ops::quantize_weight(random(shape, 2));
    auto x = random({7, in}, 3);
    x = mx::where(mx::equal(mx::reshape(mx::arange(7), {7, 1}), mx::array(4)), mx::array(0.0f), x);  // one row of zeros
    const auto bias = random({out}, 4);
    const auto rotated = mx::reshape(ops::rotate_columns(mx::reshape(x, {7, blocks, in / blocks})), x.shape());
    EXPECT_LE(relative_error(ops::weight_matmul(x, weight, bias), plain_product(Plain(rotated), weight, Plain(bias))), 1e-6);
  }
}

// Without the rotation, the large values of two columns would leave only a few quantization steps for the others.
TEST(WeightMatmul, Int8ToleratesLargeColumns) {
  auto x = random({16, 256}, 7);
  const auto large = mx::logical_or(mx::equal(mx::arange(256), mx::array(3)), mx::equal(mx::arange(256), mx::array(200)));
  x = mx::where(large, x * mx::array(40.0f), x);
  auto w = random({64, 256}, 8);
  w = mx::where(large, mx::array(0.0f), w);
  EXPECT_LE(relative_error(ops::weight_matmul(x, ops::quantize_weight(w)), mx::matmul(x, mx::transpose(w))), 0.06);
}

TEST(WeightMatmul, Int8IsCloseToFloat) {
  const auto w = random({64, 256}, 5), x = random({8, 256}, 6);
  EXPECT_LE(relative_error(ops::weight_matmul(x, ops::quantize_weight(w)), mx::matmul(x, mx::transpose(w))), 0.02);
}

TEST(WeightMatmul, NamesWhatIsWrong) {
  const auto weight = ops::quantize_weight(random({8, 16}, 1));
  EXPECT_THROW(ops::weight_matmul(random({3, 15}, 1), weight), Error);
  EXPECT_THROW(ops::weight_matmul(mx::zeros({3, 16}, mx::int32), weight), Error);
  EXPECT_THROW(ops::weight_matmul(random({3, 16}, 1), {weight.values, mx::ones({7})}), Error);
  EXPECT_THROW(ops::weight_matmul(random({3, 16}, 1), {random({8, 16}, 1), mx::ones({8})}), Error);
}

}  // namespace
}  // namespace m2bert
