#pragma once
// The way from an operation to the kernels of a device. An operation checks its arguments, asks the backend of its stream's device, and
// uses its fallback if the backend has no kernel:
//
//   if (const auto y = backend_for(s).long_conv(u, k, k_rev, D, mx::to_stream(s))) return *y;
//   return long_conv_fallback(...);
//
// A kernel for another device is one new file in that device's folder, and one line in its backend's class (backend/cpu/cpu_backend.h).
#include <memory>
#include <optional>
#include <vector>

#include "m2bert/mx.h"
#include "m2bert/ops/adamw.h"
#include "m2bert/ops/embedding.h"
#include "m2bert/ops/feed_forward.h"
#include "m2bert/ops/filter_network.h"
#include "m2bert/ops/mixer_block.h"
#include "m2bert/ops/monarch_mix.h"
#include "m2bert/ops/packed_linear.h"
#include "m2bert/ops/packed_mixer_block.h"
#include "m2bert/ops/recorded_pass.h"
#include "m2bert/ops/streaming_attention.h"

namespace m2bert::ops {

// Every function returns nullopt (null, false) if the backend has no kernel for the arguments. This base class has no kernels at all; it
// stands for a device without kernels or with a backend that is not built. The operation of the same name documents the arguments and has
// checked them. Results are lazy MLX arrays with gradients, unless the operation says otherwise.
class Backend {
 public:
  using Array = std::optional<mx::array>;
  virtual ~Backend() = default;
  virtual const char* name() const { return "none"; }

  // x [..., nb * p], weight [nb, q, p]; a dense weight is one block. All of one dtype.
  virtual Array blockdiag_multiply(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, mx::Stream s) const;
  virtual Array feed_forward(const mx::array& x, const FeedForwardWeights& weights, float p, const std::optional<mx::array>& key,
                             mx::Stream s) const;

  // These are without options (GELU, dropout mask). The filter length K is short_weight's last axis.
  virtual Array mixer_block(const mx::array& u, const MixerWeights& weights, const MixerFilters& filters, mx::Stream s) const;
  virtual Array mixer_block_varlen(const mx::array& u, const CuSeqlens& cu_seqlens, const MixerWeights& weights,
                                   const MixerFilters& filters, mx::Stream s) const;
  virtual int mixer_row_alignment(const MixerWeights& weights, int L, mx::Dtype dtype) const;
  virtual Array monarch_mix(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                            const MixerFilters& filters, mx::Stream s) const;
  virtual Array monarch_mix_varlen(const mx::array& projected, const mx::array& u, const CuSeqlens& cu_seqlens,
                                   const mx::array& short_weight, const mx::array& short_bias, const MixerFilters& filters,
                                   mx::Stream s) const;
  virtual Array long_conv(const mx::array& u, const mx::array& k, const std::optional<mx::array>& k_rev, const mx::array& D,
                          mx::Stream s) const;
  virtual Array sine_linear(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq, mx::Stream s) const;
  virtual Array exponential_decay(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::Stream s) const;
  virtual std::optional<std::vector<mx::array>> filters_of_networks(const std::vector<SineNetwork>& networks, mx::Stream s) const;

  virtual Array gelu(const mx::array& x, mx::Stream s) const;
  virtual Array gelu_tanh(const mx::array& x, mx::Stream s) const;
  virtual Array gelu_gate(const mx::array& x, mx::Stream s) const;
  virtual Array layer_norm(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias,
                           float eps, mx::Stream s) const;
  virtual Array embedding_rows(const mx::array& table, const mx::array& index, mx::Stream s) const;
  virtual Array embedding_norm(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype, mx::Stream s) const;
  virtual Array dropout(const mx::array& x, float p, const mx::array& key, mx::Stream s) const;
  virtual Array cross_entropy_rows(const mx::array& x, const mx::array& labels, mx::Stream s) const;
  virtual Array cast(const mx::array& x, mx::Dtype dtype, mx::Stream s) const;
  virtual std::optional<std::vector<mx::array>> cast_arrays(const std::vector<mx::array>& arrays, mx::Dtype dtype, mx::Stream s) const;

  // Streaming attention (streaming_attention.h). forward returns y and the softmax's row maxima and sums; backward computes dq, dk, dv from
  // these results. Call them only if supports_attention().
  virtual bool supports_attention() const { return false; }
  virtual std::vector<mx::array> attention_forward(const StreamingInputs& in, const StreamingAttention& attention, mx::Stream s) const;
  virtual std::vector<mx::array> attention_backward(const StreamingInputs& in, const StreamingAttention& attention,
                                                    const std::vector<mx::array>& results, const mx::array& dy, mx::Stream s) const;
  // y of attention without a bias, within sequences, of q, k and v side by side: float32 [nnz, 3, heads, d] -> [nnz, heads, d]. No
  // gradient.
  virtual Array attention_qkv(const mx::array& qkv, const StreamingAttention& attention, mx::Stream s) const;

  // Weights packed into the layout of an inference kernel.
  virtual std::unique_ptr<PackedLinear> pack_linear(const LinearWeights& weights, const std::optional<NormWeights>& norm,
                                                    mx::Stream s) const;
  virtual std::unique_ptr<PackedFeedForward> pack_feed_forward(const FeedForwardWeights& weights, mx::Stream s) const;
  virtual std::unique_ptr<PackedMixerBlock> pack_mixer_block(const MixerWeights& weights, bool residual, mx::Stream s) const;

  virtual bool records_passes(mx::Stream) const { return false; }
  virtual std::unique_ptr<RecordedPass> record_pass(const std::vector<mx::array>& inputs, const PassFunction& f, mx::Stream s) const;

  // These start immediately, and work in place if nothing else refers to the arrays.
  virtual bool takes_scale_array() const { return false; }  // whether adamw_update() does, in place of a number
  virtual bool adamw_update(const std::vector<AdamWParameter>& parameters, const AdamWOptions& options, mx::Stream s) const;
  virtual bool axpby(const std::vector<mx::array*>& y, const std::vector<mx::array>& x, double a, double b, mx::Stream s) const;
  virtual std::optional<double> global_norm(const std::vector<mx::array>& arrays, mx::Stream s) const;
  // Lazy: all as one vector, and the norm's square.
  virtual Array flatten_together(const std::vector<mx::array>& arrays, mx::Stream s) const;
  virtual Array sum_of_squares(const std::vector<mx::array>& arrays, mx::Stream s) const;

  // See cpu_features.h.
  virtual bool supports_bfloat16_gemm() const { return false; }
  virtual bool supports_int8_gemm() const { return false; }
  virtual const char* instruction_set() const { return "none"; }
};

// The backend of the stream's device.
const Backend& backend_for(mx::StreamOrDevice s);

// Whether the stream's device has kernels and they are enabled.
bool has_kernels(mx::StreamOrDevice s);

// Enables or disables all kernels of this process. Without them every operation uses its fallback. For tests and comparisons.
void enable_kernels(bool enable);

}  // namespace m2bert::ops
