#pragma once
// The kernels of NVIDIA GPUs: the blocks in bfloat16 (the mixer's for inference also in float32), filter networks and the optimizer in
// float32, dropout, LayerNorm and embedding rows in both. Activations are channel-major in the blocks, [H, B, L]: their results are views
// of that layout in the shape of u, which the next block takes as they are.
#include "m2bert/ops/backend/backend.h"

namespace m2bert::ops {

class CudaBackend final : public Backend {
 public:
  const char* name() const override { return "cuda"; }

  Array blockdiag_multiply(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, mx::Stream s) const override;
  Array gelu(const mx::array& x, mx::Stream s) const override;
  Array layer_norm(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias, float eps,
                   mx::Stream s) const override;
  Array mixer_block(const mx::array& u, const MixerWeights& weights, const MixerFilters& filters, mx::Stream s) const override;
  Array mixer_block_varlen(const mx::array& u, const CuSeqlens& cu_seqlens, const MixerWeights& weights, const MixerFilters& filters,
                           mx::Stream s) const override;
  int mixer_row_alignment(const MixerWeights& weights, int L, mx::Dtype dtype) const override;
  Array feed_forward(const mx::array& x, const FeedForwardWeights& weights, float p, const std::optional<mx::array>& key,
                     mx::Stream s) const override;
  Array embedding_norm(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype, mx::Stream s) const override;
  Array monarch_mix(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                    const MixerFilters& filters, mx::Stream s) const override;
  std::optional<std::vector<mx::array>> filters_of_networks(const std::vector<SineNetwork>& networks, mx::Stream s) const override;
  Array embedding_rows(const mx::array& table, const mx::array& index, mx::Stream s) const override;
  Array dropout(const mx::array& x, float p, const mx::array& key, mx::Stream s) const override;
  std::optional<std::vector<mx::array>> cast_arrays(const std::vector<mx::array>& arrays, mx::Dtype dtype, mx::Stream s) const override;
  Array cross_entropy_rows(const mx::array& x, const mx::array& labels, mx::Stream s) const override;

  std::unique_ptr<PackedFeedForward> pack_feed_forward(const FeedForwardWeights& weights, mx::Stream s) const override;
  std::unique_ptr<PackedMixerBlock> pack_mixer_block(const MixerWeights& weights, bool residual, mx::Stream s) const override;
  bool records_passes(mx::Stream s) const override;
  std::unique_ptr<RecordedPass> record_pass(const std::vector<mx::array>& inputs, const PassFunction& f, mx::Stream s) const override;

  bool takes_scale_array() const override { return true; }
  bool adamw_update(const std::vector<AdamWParameter>& parameters, const AdamWOptions& options, mx::Stream s) const override;
  Array flatten_together(const std::vector<mx::array>& arrays, mx::Stream s) const override;
  Array sum_of_squares(const std::vector<mx::array>& arrays, mx::Stream s) const override;
};

}  // namespace m2bert::ops
