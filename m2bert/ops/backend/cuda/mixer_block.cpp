// The Monarch Mixer with its projections for training: two products by cuBLAS around the core, channel-major.
#include "m2bert/ops/mixer_block.h"

#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/mixer_training.h"
#include "m2bert/ops/backend/cuda/mixer_weights.h"

namespace m2bert::ops {

namespace {

bool supports(const mx::array& u, const MixerWeights& w, const MixerFilters& f) {
  return u.size() > 0 && u.dtype() == mx::bfloat16 && cuda::is_bfloat16(w.in_weight) && cuda::is_bfloat16(w.out_weight) &&
         u.shape(2) % 16 == 0 && u.shape(1) <= cuda::LONGEST_TRAINED && w.short_weight.ndim() == 3 && w.short_weight.shape(2) == 3 &&
         !f.spectrum && !f.spectrum2;
}

}  // namespace

Backend::Array CudaBackend::mixer_block(const mx::array& u, const MixerWeights& w, const MixerFilters& f, mx::Stream s) const {
  if (!supports(u, w, f)) return {};
  const auto channels = cuda::channel_major(u, s);
  const auto projected = mx::matmul(w.in_weight.values, channels, s);
  const auto y = cuda::differentiable_mixer_core(projected, channels, cuda::short_filter(w, s), f, u.shape(1), w.out_bias.has_value(), s);
  return cuda::position_major(mx::matmul(cuda::out_weight(w, s), y, s), u, s);
}

}  // namespace m2bert::ops
