#include "bench/ops/registry.h"
#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/long_conv.h"
#include "m2bert/ops/monarch_mix.h"

namespace m2bert::bench {
namespace {

ops::MixerFilters filters(const Inputs& in) { return {in["k"], in["D"], in["k_rev"], in["k2"], in["D2"], in["k2_rev"]}; }

Function with_kept_spectrum(const Inputs& inputs) {
  auto spectrum = ops::long_conv_spectrum(inputs["k"], inputs["k_rev"]);
  mx::eval(spectrum);
  return [spectrum](const Inputs& in) { return ops::long_conv_with_spectrum(in["u"], spectrum, in["D"]); };
}

mx::array mix(const Inputs& in) { return ops::monarch_mix(in["projected"], in["u"], in["short_weight"], in["short_bias"], filters(in)); }

Function mix_with_kept_filters(const Inputs& inputs) {
  if (!ops::has_mixer_kernel(inputs["u"].shape(-1), inputs["u"].dtype())) return mix;
  auto prepared = ops::prepare_mixer(filters(inputs));
  mx::eval(prepared);
  return [prepared](const Inputs& in) {
    return ops::monarch_mix_prepared(in["projected"], in["u"], in["short_weight"], in["short_bias"], prepared, true);
  };
}

}  // namespace

void add_convolution(Registry& registry) {
  registry.add("depthwise_conv1d_causal", [](const Inputs& in) { return ops::depthwise_conv1d_causal(in["u"], in["weight"], in["bias"]); });
  registry.add("long_conv", [](const Inputs& in) { return ops::long_conv(in["u"], in["k"], in["k_rev"], in["D"]); });
  registry.add("long_conv_causal", [](const Inputs& in) { return ops::long_conv(in["u"], in["k"], std::nullopt, in["D"]); });
  registry.add("long_conv_gelu_mask", [](const Inputs& in) {
    return ops::long_conv(in["u"], in["k"], in["k_rev"], in["D"], {.gelu = true, .dropout_mask = in["dropout_mask"]});
  });
  registry.add_prepared("long_conv_with_spectrum", with_kept_spectrum);
  registry.add("monarch_mix", mix);
  registry.add_prepared("monarch_mix_kept", mix_with_kept_filters);
}

}  // namespace m2bert::bench
