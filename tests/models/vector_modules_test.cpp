#include "m2bert/models/vector_modules.h"

#include <gtest/gtest.h>

#include <cmath>

#include "m2bert/checkpoint/safetensors.h"
#include "tests/support/scratch.h"

namespace m2bert::models {
namespace {

using checkpoint::VectorModule;
using test::error_of;
using test::has;

float largest(const mx::array& a) { return mx::max(mx::abs(a)).item<float>(); }

VectorModule dense(const test::Scratch& scratch, const checkpoint::TensorMap& tensors, int in, int out) {
  checkpoint::save_safetensors(scratch / "model.safetensors", tensors);
  return {.kind = VectorModule::Kind::dense,
          .folder = scratch.folder(),
          .weights = scratch / "model.safetensors",
          .in_features = in,
          .out_features = out,
          .activation = "torch.nn.modules.linear.Identity"};
}

const mx::array x({1.0f, 2.0f}, {1, 2});
const mx::array weight({1.0f, 10.0f, 2.0f, 20.0f, 3.0f, 30.0f}, {3, 2});
const mx::array bias({0.5f, 0.0f, -0.5f}, {3});

TEST(VectorModules, DenseWithBiasActivationAndResidual) {
  const test::Scratch scratch;
  VectorModule module = dense(scratch, {{"linear.weight", weight}, {"linear.bias", bias}, {"residual.weight", -weight}}, 2, 3);
  EXPECT_LT(largest(VectorModules({module})(x) - mx::array({21.5f, 42.0f, 62.5f}, {1, 3})), 1e-5f);
  module.bias = false;
  module.activation = "torch.nn.modules.activation.Sigmoid";
  EXPECT_LT(largest(VectorModules({module})(x) - mx::array(1.0f)), 1e-5f);
  module.residual = true;
  EXPECT_LT(largest(VectorModules({module})(x) - mx::array({-20.0f, -41.0f, -62.0f}, {1, 3})), 1e-5f);
  EXPECT_EQ(VectorModules({module}).width(2), 3);
}

TEST(VectorModules, NormalizeAndLayerNorm) {
  const test::Scratch scratch;
  checkpoint::save_safetensors(scratch / "norm.safetensors",
                               {{"norm.weight", mx::array({2.0f, 2.0f})}, {"norm.bias", mx::array({1.0f, 0.0f})}});
  const VectorModule norm{.kind = VectorModule::Kind::layer_norm, .folder = scratch.folder(), .weights = scratch / "norm.safetensors"};
  EXPECT_LT(largest(VectorModules({norm})(x) - mx::array({-1.0f, 2.0f}, {1, 2})), 1e-4f);
  EXPECT_EQ(VectorModules({norm}).width(2), 2);
  EXPECT_PRED2(has, error_of([&] { VectorModules({norm}).width(3); }), "takes vectors of 2 values, and gets 3");
  EXPECT_LT(largest(VectorModules({VectorModule{}})(x) - x / mx::array(std::sqrt(5.0f))), 1e-6f);
}

TEST(VectorModules, Errors) {
  const test::Scratch scratch;
  VectorModule module = dense(scratch, {{"linear.weight", weight}}, 2, 3);
  EXPECT_PRED2(has, error_of([&] { VectorModules({module}); }), "has no tensor linear.bias");
  module.bias = false;
  EXPECT_PRED2(has, error_of([&] { VectorModules({module}).width(3); }), "takes vectors of 2 values");
  module.activation = "torch.nn.modules.activation.RReLU";
  EXPECT_PRED2(has, error_of([&] { VectorModules({module}); }), "'torch.nn.modules.activation.RReLU' is not supported");
  module.activation = "custom.Tanh";
  EXPECT_PRED2(has, error_of([&] { VectorModules({module}); }), "'custom.Tanh' is not supported");
  module.activation = "torch.nn.modules.activation.Tanh";
  module.in_features = 4;
  EXPECT_PRED2(has, error_of([&] { VectorModules({module}); }), "linear.weight has shape");
}

}  // namespace
}  // namespace m2bert::models
