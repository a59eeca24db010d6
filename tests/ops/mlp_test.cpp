// Upstream's channel mixers, composed of ops: BertGatedLinearUnitMLP and BertMLP, dense and block-diagonal.
#include <gtest/gtest.h>

#include "golden.h"
#include "m2bert/ops/activation.h"
#include "m2bert/ops/layer_norm.h"
#include "m2bert/ops/linear.h"
#include "m2bert/ops/monarch.h"

namespace m2bert {
namespace {

using namespace testing_ops;

const std::vector<std::string> kInputs{"x", "gated_layers__weight", "wo__weight", "wo__bias", "layernorm__weight", "layernorm__bias"};

mx::array product(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias = std::nullopt) {
  return weight.ndim() == 3 ? ops::blockdiag_multiply(x, weight, bias) : ops::linear(x, weight, bias);
}

// LN(wo(act) + x)
mx::array channel_mixer(const std::vector<mx::array>& in, mx::array (*activation)(const mx::array&, mx::StreamOrDevice)) {
  auto y = product(activation(product(in[0], in[1]), {}), in[2], in[3]);
  return ops::layer_norm(y, in[0], in[4], in[5], 1e-12f);
}

TEST(ChannelMixerGolden, Gated) {
  for (const char* file : {"glu_mlp_dense", "glu_mlp_blockdiag"}) {
    expect_golden(file, kInputs, [](const auto& in) { return channel_mixer(in, ops::gelu_gate); });
  }
}

TEST(ChannelMixerGolden, Plain) {
  for (const char* file : {"mlp_dense", "mlp_blockdiag"}) {
    expect_golden(file, kInputs, [](const auto& in) { return channel_mixer(in, ops::gelu); });
  }
}

}  // namespace
}  // namespace m2bert
