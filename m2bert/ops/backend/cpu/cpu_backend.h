#pragma once
// The CPU's kernels: MLX primitives (*_primitive.cpp in this folder) that run host code and vector loops (simd/). Each function is defined
// in the file of its primitive.
#include "m2bert/ops/backend/backend.h"

namespace m2bert::ops {

class CpuBackend final : public Backend {
 public:
  const char* name() const override { return "cpu"; }

  Array blockdiag_multiply(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, mx::Stream s) const override;
  Array feed_forward(const mx::array& x, const FeedForwardWeights& weights, float p, const std::optional<mx::array>& key,
                     mx::Stream s) const override;
  Array monarch_mix(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                    const MixerFilters& filters, mx::Stream s) const override;
  Array monarch_mix_varlen(const mx::array& projected, const mx::array& u, const CuSeqlens& cu_seqlens, const mx::array& short_weight,
                           const mx::array& short_bias, const MixerFilters& filters, mx::Stream s) const override;
  Array long_conv(const mx::array& u, const mx::array& k, const std::optional<mx::array>& k_rev, const mx::array& D,
                  mx::Stream s) const override;
  Array sine_linear(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq, mx::Stream s) const override;
  Array exponential_decay(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::Stream s) const override;
  Array gelu(const mx::array& x, mx::Stream s) const override;
  Array gelu_tanh(const mx::array& x, mx::Stream s) const override;
  Array gelu_gate(const mx::array& x, mx::Stream s) const override;
  Array layer_norm(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias, float eps,
                   mx::Stream s) const override;
  Array embedding_norm(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype, mx::Stream s) const override;
  Array dropout(const mx::array& x, float p, const mx::array& key, mx::Stream s) const override;
  Array cross_entropy_rows(const mx::array& x, const mx::array& labels, mx::Stream s) const override;
  Array cast(const mx::array& x, mx::Dtype dtype, mx::Stream s) const override;

  bool supports_attention() const override { return true; }
  std::vector<mx::array> attention_forward(const StreamingInputs& in, const StreamingAttention& attention, mx::Stream s) const override;
  std::vector<mx::array> attention_backward(const StreamingInputs& in, const StreamingAttention& attention,
                                            const std::vector<mx::array>& results, const mx::array& dy, mx::Stream s) const override;
  Array attention_qkv(const mx::array& qkv, const StreamingAttention& attention, mx::Stream s) const override;

  std::unique_ptr<PackedLinear> pack_linear(const LinearWeights& weights, const std::optional<NormWeights>& norm,
                                            mx::Stream s) const override;
  std::unique_ptr<PackedFeedForward> pack_feed_forward(const FeedForwardWeights& weights, mx::Stream s) const override;
  std::unique_ptr<PackedMixerBlock> pack_mixer_block(const MixerWeights& weights, bool residual, mx::Stream s) const override;

  bool adamw_update(const std::vector<AdamWParameter>& parameters, const AdamWOptions& options, mx::Stream s) const override;
  bool axpby(const std::vector<mx::array*>& y, const std::vector<mx::array>& x, double a, double b, mx::Stream s) const override;
  std::optional<double> global_norm(const std::vector<mx::array>& arrays, mx::Stream s) const override;

  bool supports_bfloat16_gemm() const override;
  bool supports_int8_gemm() const override;
  const char* instruction_set() const override;
};

}  // namespace m2bert::ops
