#include "bench/operations/registry.h"
#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/long_conv.h"
#include "m2bert/ops/packed_mixer_block.h"

namespace m2bert::bench {
namespace {

ops::MixerFilters filters(const Inputs& in) { return {in["k"], in["D"], in["k_rev"], in["k2"], in["D2"], in["k2_rev"]}; }

Function with_cached_spectrum(const Inputs& inputs) {
  auto spectrum = ops::long_conv_spectrum(inputs["k"], inputs["k_rev"]);
  mx::eval(spectrum);
  return [spectrum](const Inputs& in) { return ops::long_conv_with_spectrum(in["u"], spectrum, in["D"]); };
}

mx::array mix(const Inputs& in) { return ops::monarch_mix(in["projected"], in["u"], in["short_weight"], in["short_bias"], filters(in)); }

ops::MixerWeights mixer_weights(const Inputs& in) {
  return {in["in_weight"], in["in_bias"], in["short_weight"], in["short_bias"], in["out_weight"], in["out_bias"]};
}

mx::array mixer(const Inputs& in) { return ops::mixer_block(in["u"], mixer_weights(in), filters(in)); }

// As at inference: weights and filters are packed once.
Function packed_mixer(const Inputs& inputs) {
  const std::shared_ptr<ops::PackedMixerBlock> packed = ops::pack_mixer_block(mixer_weights(inputs), true);
  if (!packed) return mixer;
  auto packed_filters = packed->pack_filters(filters(inputs), inputs["u"].dtype());
  mx::eval(packed_filters);
  return [packed, packed_filters](const Inputs& in) { return (*packed)(in["u"], packed_filters); };
}

// "Same" padding.
mx::array same_padding(const Inputs& in, decltype(ops::conv1d)* convolve) {
  return convolve(in["x"], in["weight"], in["bias"], {.padding = in["weight"].shape(2) / 2}, {});
}

// "Same" padding, depthwise.
mx::array same_padding_depthwise(const Inputs& in, decltype(ops::conv1d)* convolve) {
  const int channels = in["x"].shape(2);
  return convolve(in["x"], in["weight"], in["bias"], {.padding = in["weight"].shape(2) / 2, .groups = channels}, {});
}

}  // namespace

void add_convolution(Registry& registry) {
  registry.add("conv1d", [](const Inputs& in) { return same_padding(in, ops::conv1d); });
  registry.add("conv1d_fft", [](const Inputs& in) { return same_padding_depthwise(in, ops::conv1d_fft); });
  registry.add("depthwise_conv1d", [](const Inputs& in) { return same_padding_depthwise(in, ops::depthwise_conv1d); });
  registry.add("depthwise_conv1d_causal", [](const Inputs& in) { return ops::depthwise_conv1d_causal(in["u"], in["weight"], in["bias"]); });
  registry.add("long_conv", [](const Inputs& in) { return ops::long_conv(in["u"], in["k"], in["k_rev"], in["D"]); });
  registry.add("long_conv_causal", [](const Inputs& in) { return ops::long_conv(in["u"], in["k"], std::nullopt, in["D"]); });
  registry.add("long_conv_gelu_mask", [](const Inputs& in) {
    return ops::long_conv(in["u"], in["k"], in["k_rev"], in["D"], {.gelu = true, .dropout_mask = in["dropout_mask"]});
  });
  registry.add_with_setup("long_conv_with_spectrum", with_cached_spectrum);
  registry.add("monarch_mix", mix);
  registry.add("mixer_block", mixer);
  registry.add_with_setup("mixer_block_packed", packed_mixer);
}

}  // namespace m2bert::bench
