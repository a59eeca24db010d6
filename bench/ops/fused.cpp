#include "bench/ops/registry.h"
#include "m2bert/ops/activation.h"
#include "m2bert/ops/dropout.h"
#include "m2bert/ops/layer_norm.h"
#include "m2bert/ops/linear.h"

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
  registry.add_prepared("dropout", [](const Inputs&) {
    return [key = mx::random::key(0)](const Inputs& in) { return ops::dropout(in["x"], kDropout, key); };
  });
}

}  // namespace m2bert::bench
