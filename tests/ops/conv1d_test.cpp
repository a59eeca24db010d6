#include "m2bert/ops/conv1d.h"

#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

TEST(DepthwiseConv1d, IsCausalWithTorchsWeightOrder) {
  auto u = mx::array({1.0f, 10.0f, 100.0f, 1000.0f}, {1, 4, 1}), w = mx::array({2.0f, 3.0f, 5.0f}, {1, 1, 3}), b = mx::array({0.5f});
  auto y = ops::depthwise_conv1d_causal(u, w, b);
  expect_near(y, mx::array({5.5f, 53.5f, 532.5f, 5320.5f}, {1, 4, 1}), 1e-7);
}

}  // namespace
}  // namespace m2bert
