#include "m2bert/nn/linear.h"

#include "near.h"

namespace m2bert::nn {
namespace {

using testing_ops::expect_near;
using testing_ops::random;
using testing_ops::relative_error;

float largest(const mx::array& a) { return mx::max(mx::abs(a)).item<float>(); }

TEST(Linear, MultipliesByTheTransposedWeightAndAddsTheBias) {
  Linear layer(3, 2);
  layer.weight = mx::array({1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f}, {2, 3});
  layer.bias = mx::array({10.0f, 20.0f});
  const auto x = mx::array({1.0f, 0.0f, -1.0f, 0.0f, 1.0f, 0.0f}, {1, 2, 3});
  expect_near(layer(x), mx::array({8.0f, 18.0f, 12.0f, 25.0f}, {1, 2, 2}), 0);
}

TEST(Linear, WithoutBias) {
  Linear layer(3, 2, false);
  KeySequence keys(1);
  layer.init_uniform(keys);
  EXPECT_FALSE(layer.bias);
  EXPECT_EQ(parameters(layer).size(), 1u);
  expect_near(layer(mx::eye(3)), mx::transpose(layer.weight), 1e-6);
}

TEST(Linear, InitialValues) {
  Linear layer(64, 100);
  KeySequence keys(1);
  layer.init_uniform(keys);
  for (const auto& a : {layer.weight, *layer.bias}) {
    EXPECT_LE(largest(a), 1 / 8.0f);
    EXPECT_GT(largest(a), 0.9f / 8);
  }
  layer.init_normal(0.02f, keys);
  EXPECT_NEAR(mx::std(layer.weight).item<float>(), 0.02f, 1e-3f);
  EXPECT_EQ(largest(*layer.bias), 0);
}

TEST(Linear, Int8WeightsHaveAScaleThatIsSavedAndNotTrained) {
  Linear layer(64, 32, false);
  layer.weight = random({32, 64}, 1);
  const auto x = random({5, 64}, 2);
  const auto exact = layer(x);
  const auto quantized = ops::quantize_weight(layer.weight);
  layer.weight = quantized.values;
  layer.weight_scale = quantized.scale;
  EXPECT_LT(relative_error(layer(x), exact), 0.03);
  const auto names = named_arrays(layer);
  ASSERT_EQ(names.size(), 2u);
  EXPECT_EQ(names[1].name, "weight_scale");
  EXPECT_EQ(names[1].role, Role::buffer);
}

}  // namespace
}  // namespace m2bert::nn
