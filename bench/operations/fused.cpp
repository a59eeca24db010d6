#include "bench/operations/registry.h"
#include "m2bert/ops/activation.h"
#include "m2bert/ops/dense.h"
#include "m2bert/ops/dropout.h"
#include "m2bert/ops/layer_norm.h"
#include "m2bert/ops/linear.h"
#include "m2bert/ops/softmax_dropout.h"

namespace m2bert::bench {
namespace {

mx::array norm(const Inputs& in, const std::optional<mx::array>& residual) {
  return ops::layer_norm(in["x"], residual, in["weight"], in["bias"], kLayerNormEps);
}

}  // namespace

void add_fused(Registry& registry) {
  registry.add("linear", [](const Inputs& in) { return ops::linear(in["x"], in["weight"], in["bias"]); });
  registry.add("gelu", [](const Inputs& in) { return ops::gelu(in["x"]); });
  registry.add("gelu_tanh", [](const Inputs& in) { return ops::gelu_tanh(in["x"]); });
  registry.add("gelu_gate", [](const Inputs& in) { return ops::gelu_gate(in["x"]); });
  registry.add("layer_norm", [](const Inputs& in) { return norm(in, std::nullopt); });
  registry.add("layer_norm_residual", [](const Inputs& in) { return norm(in, in["residual"]); });
  registry.add("fused_dense", [](const Inputs& in) { return ops::fused_dense(in["x"], in["weight"], in["bias"]); });
  registry.add("fused_dense_gelu", [](const Inputs& in) { return ops::fused_dense_gelu(in["x"], in["weight"], in["bias"]); });

  const auto key = mx::random::key(0);
  registry.add("dropout", [key](const Inputs& in) { return ops::dropout(in["x"], kDropout, key); });
  registry.add("fused_dropout_add", [key](const Inputs& in) { return ops::fused_dropout_add(in["x"], in["residual"], kDropout, key); });
  registry.add("fused_bias_dropout_add",
               [key](const Inputs& in) { return ops::fused_bias_dropout_add(in["x"], in["bias"], in["residual"], kDropout, key); });
  registry.add("fused_softmax_dropout", [key](const Inputs& in) { return ops::fused_softmax_dropout(in["x"], kDropout, in["mask"], key); });
}

}  // namespace m2bert::bench
