#include "m2bert/ops/backend/backend.h"

#include <atomic>

#include "m2bert/error.h"
#include "m2bert/ops/cpu_features.h"

#ifdef M2BERT_CPU_KERNELS
#include "m2bert/ops/backend/cpu/cpu_backend.h"
#endif
#ifdef M2BERT_CUDA_KERNELS
#include "m2bert/ops/backend/cuda/cuda_backend.h"
#endif

namespace m2bert::ops {

namespace {

std::atomic<bool> enabled{true};

const Backend& no_backend() {
  static const Backend none;
  return none;
}

// Every backend, or its stand-in if it is not built.
const Backend& cpu_backend() {
#ifdef M2BERT_CPU_KERNELS
  static const CpuBackend cpu;
  return cpu;
#else
  return no_backend();
#endif
}

const Backend& gpu_backend() {
#ifdef M2BERT_CUDA_KERNELS
  static const CudaBackend cuda;
  if (mx::cu::is_available()) return cuda;
#endif
  return no_backend();
}

}  // namespace

const Backend& backend_for(mx::StreamOrDevice s) {
  if (!enabled) return no_backend();
  return mx::to_stream(s).device == mx::Device(mx::Device::cpu) ? cpu_backend() : gpu_backend();
}

bool has_kernels(mx::StreamOrDevice s) { return &backend_for(s) != &no_backend(); }

void enable_kernels(bool enable) { enabled = enable; }

bool supports_bfloat16_gemm() { return cpu_backend().supports_bfloat16_gemm(); }
bool supports_int8_gemm() { return cpu_backend().supports_int8_gemm(); }
const char* instruction_set() { return cpu_backend().instruction_set(); }

// The default of every operation: no kernel.
using Array = Backend::Array;
using mx::array;
using Optional = std::optional<array>;

Array Backend::blockdiag_multiply(const array&, const array&, const Optional&, mx::Stream) const { return {}; }
Array Backend::feed_forward(const array&, const FeedForwardWeights&, float, const Optional&, mx::Stream) const { return {}; }
Array Backend::mixer_block(const array&, const MixerWeights&, const MixerFilters&, mx::Stream) const { return {}; }
Array Backend::mixer_block_varlen(const array&, const CuSeqlens&, const MixerWeights&, const MixerFilters&, mx::Stream) const { return {}; }
int Backend::mixer_row_alignment(const MixerWeights&, int, mx::Dtype) const { return 1; }
Array Backend::monarch_mix(const array&, const array&, const array&, const array&, const MixerFilters&, mx::Stream) const { return {}; }
Array Backend::monarch_mix_varlen(const array&, const array&, const CuSeqlens&, const array&, const array&, const MixerFilters&,
                                  mx::Stream) const {
  return {};
}
Array Backend::long_conv(const array&, const array&, const Optional&, const array&, mx::Stream) const { return {}; }
Array Backend::sine_linear(const array&, const array&, const array&, const array&, mx::Stream) const { return {}; }
Array Backend::exponential_decay(const array&, const array&, const array&, mx::Stream) const { return {}; }
std::optional<std::vector<array>> Backend::filters_of_networks(const std::vector<SineNetwork>&, mx::Stream) const { return {}; }
Array Backend::gelu(const array&, mx::Stream) const { return {}; }
Array Backend::gelu_tanh(const array&, mx::Stream) const { return {}; }
Array Backend::gelu_gate(const array&, mx::Stream) const { return {}; }
Array Backend::layer_norm(const array&, const Optional&, const array&, const array&, float, mx::Stream) const { return {}; }
Array Backend::embedding_rows(const array&, const array&, mx::Stream) const { return {}; }
Array Backend::embedding_norm(const std::vector<EmbeddingRows>&, const NormWeights&, mx::Dtype, mx::Stream) const { return {}; }
Array Backend::dropout(const array&, float, const array&, mx::Stream) const { return {}; }
Array Backend::cross_entropy_rows(const array&, const array&, mx::Stream) const { return {}; }
Array Backend::cast(const array&, mx::Dtype, mx::Stream) const { return {}; }
std::optional<std::vector<array>> Backend::cast_arrays(const std::vector<array>&, mx::Dtype, mx::Stream) const { return {}; }
Array Backend::attention_qkv(const array&, const StreamingAttention&, mx::Stream) const { return {}; }

std::vector<array> Backend::attention_forward(const StreamingInputs&, const StreamingAttention&, mx::Stream) const {
  fail("[scaled_dot_product_attention] the backend \"", name(), "\" has no kernel");
}
std::vector<array> Backend::attention_backward(const StreamingInputs&, const StreamingAttention&, const std::vector<array>&, const array&,
                                               mx::Stream) const {
  fail("[scaled_dot_product_attention] the backend \"", name(), "\" has no kernel");
}

std::unique_ptr<PackedLinear> Backend::pack_linear(const LinearWeights&, const std::optional<NormWeights>&, mx::Stream) const { return {}; }
std::unique_ptr<PackedFeedForward> Backend::pack_feed_forward(const FeedForwardWeights&, mx::Stream) const { return {}; }
std::unique_ptr<PackedMixerBlock> Backend::pack_mixer_block(const MixerWeights&, bool, mx::Stream) const { return {}; }
std::unique_ptr<RecordedPass> Backend::record_pass(const std::vector<array>&, const PassFunction&, mx::Stream) const { return {}; }

bool Backend::adamw_update(const std::vector<AdamWParameter>&, const AdamWOptions&, mx::Stream) const { return false; }
bool Backend::axpby(const std::vector<array*>&, const std::vector<array>&, double, double, mx::Stream) const { return false; }
std::optional<double> Backend::global_norm(const std::vector<array>&, mx::Stream) const { return {}; }
Array Backend::flatten_together(const std::vector<array>&, mx::Stream) const { return {}; }
Array Backend::sum_of_squares(const std::vector<array>&, mx::Stream) const { return {}; }

}  // namespace m2bert::ops
