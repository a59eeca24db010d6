#include "m2bert/nn/layer_norm.h"

#include "near.h"

namespace m2bert::nn {
namespace {

using testing_ops::expect_near;
using testing_ops::random;

TEST(LayerNorm, NormalizesTheLastAxis) {
  const LayerNorm norm(4, 0);
  const auto y = norm(mx::array({1.0f, 1.0f, 3.0f, 3.0f, -6.0f, 6.0f, -6.0f, 6.0f}, {2, 4}));
  expect_near(y, mx::array({-1.0f, -1.0f, 1.0f, 1.0f, -1.0f, 1.0f, -1.0f, 1.0f}, {2, 4}), 1e-6);
}

TEST(LayerNorm, ScalesShiftsAndAddsEpsilonToTheVariance) {
  LayerNorm norm(2, 3);
  norm.weight = mx::array({10.0f, 1.0f});
  norm.bias = mx::array({0.0f, 5.0f});
  expect_near(norm(mx::array({-1.0f, 1.0f})), mx::array({-5.0f, 5.5f}), 1e-6);  // variance 1, eps 3: +-1 / 2
}

TEST(LayerNorm, AddsTheResidualFirst) {
  const LayerNorm norm(8, 1e-12f);
  const auto x = random({3, 8}, 1), residual = random({3, 8}, 2);
  expect_near(norm(x, residual), norm(x + residual), 1e-6);
}

}  // namespace
}  // namespace m2bert::nn
