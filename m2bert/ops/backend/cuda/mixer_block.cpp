// Which mixers are trained by kernels.
#include "m2bert/ops/mixer_block.h"

#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/mixer_training.h"

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
  return cuda::position_major(cuda::differentiable_mixer_block(cuda::channel_major(u, s), w, f, u.shape(1), s), u, s);
}

}  // namespace m2bert::ops
