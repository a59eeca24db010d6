#include "m2bert/nn/embedding.h"

#include "near.h"

namespace m2bert::nn {
namespace {

using testing_ops::expect_near;
using testing_ops::random;
using testing_ops::relative_error;

mx::array row(const mx::array& table, int i) { return mx::take(table, i, 0); }

TEST(Embedding, ReturnsTheRowOfEachId) {
  Embedding table(4, 3);
  table.weight = mx::reshape(mx::arange(12.0f), {4, 3});
  const auto y = table(mx::array({3, 0, 3, 1}, {2, 2}));
  EXPECT_EQ(y.shape(), mx::Shape({2, 2, 3}));
  expect_near(y, mx::array({9.0f, 10.0f, 11.0f, 0.0f, 1.0f, 2.0f, 9.0f, 10.0f, 11.0f, 3.0f, 4.0f, 5.0f}, {2, 2, 3}), 0);
}

TEST(Embedding, ThePaddingRowStartsAtZeroAndGetsNoGradient) {
  for (const int padding : {-1, 2}) {
    Embedding table(4, 3, padding);
    KeySequence keys(1);
    table.init_normal(1, keys);
    const bool zero = mx::all(mx::equal(row(table.weight, 2), mx::array(0.0f))).item<bool>();
    EXPECT_EQ(zero, padding == 2);
    const auto ids = mx::array({2, 1, 2});
    const auto gradient = value_and_grad(parameters(table), [&] { return mx::sum(table(ids)); }).grads[0];
    expect_near(row(gradient, 0), mx::zeros({3}), 0);
    expect_near(row(gradient, 1), mx::ones({3}), 0);
    expect_near(row(gradient, 2), padding == 2 ? mx::zeros({3}) : mx::full({3}, 2.0f), 0);
  }
}

TEST(Embedding, Int8RowsComeBackInFloat32) {
  Embedding table(10, 64);
  table.weight = random({10, 64}, 1);
  const auto ids = mx::array({7, 0});
  const auto exact = table(ids);
  const auto quantized = ops::quantize_weight(table.weight);
  table.weight = quantized.values;
  table.weight_scale = quantized.scale;
  EXPECT_EQ(table(ids).dtype(), mx::float32);
  EXPECT_LT(relative_error(table(ids), exact), 0.02);
}

}  // namespace
}  // namespace m2bert::nn
