// The mixer's core as its CUDA kernel runs it at inference: channel-major, with filters that were packed once. Inputs: those of
// monarch_mix.
#include "m2bert/ops/backend/cuda/mixer_core.h"

#include "bench/operations/registry.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/mixer_weights.h"

namespace m2bert::bench {
namespace {

Function mixer_core(const Inputs& in) {
  require(ops::backend_for({}).name() == std::string("cuda"), "mixer_core needs an NVIDIA GPU");
  const auto s = mx::default_stream(mx::default_device());
  const auto u = in["u"];
  require(u.shape(1) <= ops::cuda::longest_mixer_core(u.dtype()), "mixer_core: at most ", ops::cuda::longest_mixer_core(u.dtype()),
          " positions on this GPU");
  const ops::MixerFilters filters{in["k"], in["D"], in["k_rev"], in["k2"], in["D2"], in["k2_rev"]};
  const auto projected = ops::cuda::contiguous_channel_major(in["projected"], s), signal = ops::cuda::contiguous_channel_major(u, s),
             taps = ops::cuda::short_filter(in["short_weight"], in["short_bias"], {}, s);
  const auto packed = ops::cuda::pack_mixer_filters(filters, u.dtype(), s);
  mx::eval(projected, signal, taps, packed);
  return [=](const Inputs&) {
    const auto y = ops::cuda::mixer_core(ops::cuda::MixerInputRows::of(projected), signal, taps, packed, u.shape(1), {.residual = true}, s);
    return ops::cuda::position_major(y, u, s);
  };
}

}  // namespace

void add_mixer_core(Registry& registry) { registry.add_with_setup("mixer_core", mixer_core); }

}  // namespace m2bert::bench
