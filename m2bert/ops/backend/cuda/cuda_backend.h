#pragma once
// The kernels of NVIDIA GPUs, in bfloat16 and, the mixer's, in float32. Activations are channel-major in the packed blocks,
// [H, B, L]: their results are views of that layout in the shape of u, which the next block takes as they are.
#include "m2bert/ops/backend/backend.h"

namespace m2bert::ops {

class CudaBackend final : public Backend {
 public:
  const char* name() const override { return "cuda"; }

  Array feed_forward(const mx::array& x, const FeedForwardWeights& weights, float p, const std::optional<mx::array>& key,
                     mx::Stream s) const override;
  Array embedding_norm(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype, mx::Stream s) const override;

  std::unique_ptr<PackedFeedForward> pack_feed_forward(const FeedForwardWeights& weights, mx::Stream s) const override;
  std::unique_ptr<PackedMixerBlock> pack_mixer_block(const MixerWeights& weights, bool residual, mx::Stream s) const override;
};

}  // namespace m2bert::ops
