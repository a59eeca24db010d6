#include "m2bert/ops/packed_mixer_block.h"

#include "m2bert/ops/backend/backend.h"

namespace m2bert::ops {

std::unique_ptr<PackedMixerBlock> pack_mixer_block(const MixerWeights& weights, bool residual, mx::StreamOrDevice s) {
  return backend_for(s).pack_mixer_block(weights, residual, mx::to_stream(s));
}

}  // namespace m2bert::ops
