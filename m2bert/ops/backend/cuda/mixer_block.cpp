// Which mixers have kernels with gradients.
#include "m2bert/ops/mixer_block.h"

#include <algorithm>

#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/mixer_core.h"
#include "m2bert/ops/backend/cuda/mixer_training.h"

namespace m2bert::ops {

namespace {

constexpr int ROW_ALIGNMENT = 8;

bool supports(const mx::array& short_weight, int L, mx::Dtype dtype) {
  return dtype == mx::bfloat16 && L <= cuda::longest_trained_mixer() && short_weight.ndim() == 3 && short_weight.shape(2) == 3;
}
bool supports(const MixerWeights& w, int L, mx::Dtype dtype) {
  return supports(w.short_weight, L, dtype) && cuda::is_bfloat16(w.in_weight) && cuda::is_bfloat16(w.out_weight) &&
         w.out_weight.values.shape(0) % 16 == 0;
}

// Whether sequences begin at multiples of ROW_ALIGNMENT, with fewer unused rows behind each: what the kernels zero.
bool is_aligned(const CuSeqlens& c) {
  for (int b = 0; b < c.sequences(); ++b) {
    const int unused = c.values()[size_t(b) + 1] - c.begin(b) - c.length(b);
    if (c.begin(b) % ROW_ALIGNMENT || unused >= ROW_ALIGNMENT) return false;
  }
  return c.values().back() % ROW_ALIGNMENT == 0;
}

bool has_spectra(const MixerFilters& f) { return f.spectrum || f.spectrum2; }

}  // namespace

Backend::Array CudaBackend::mixer_block(const mx::array& u, const MixerWeights& w, const MixerFilters& f, mx::Stream s) const {
  if (u.size() == 0 || has_spectra(f) || !supports(w, u.shape(1), u.dtype())) return {};
  return cuda::position_major(cuda::differentiable_mixer_block(cuda::channel_major(u, s), w, f, u.shape(1), {}, s), u, s);
}

// By the kernel of the longest one.
Backend::Array CudaBackend::mixer_block_varlen(const mx::array& u, const CuSeqlens& cu_seqlens, const MixerWeights& w,
                                               const MixerFilters& f, mx::Stream s) const {
  const int L = f.k.shape(0);
  if (u.size() == 0 || has_spectra(f) || !is_aligned(cu_seqlens) || !supports(w, L, u.dtype())) return {};
  return cuda::position_major(cuda::differentiable_mixer_block(cuda::channel_major(u, s), w, f, L, cu_seqlens.table(), s), u, s);
}

Backend::Array CudaBackend::monarch_mix(const mx::array& projected, const mx::array& u, const mx::array& short_weight,
                                        const mx::array& short_bias, const MixerFilters& f, mx::Stream s) const {
  const int L = u.shape(1);
  if (u.size() == 0 || has_spectra(f) || projected.dtype() != u.dtype() || !supports(short_weight, L, u.dtype())) return {};
  const auto rows = cuda::contiguous_channel_major(projected, s), signal = cuda::contiguous_channel_major(u, s);
  return cuda::position_major(cuda::differentiable_mixer_core(rows, signal, short_weight, short_bias, f, L, s), u, s);
}

int CudaBackend::mixer_row_alignment(const MixerWeights& w, int L, mx::Dtype dtype) const {
  return supports(w, L, dtype) ? ROW_ALIGNMENT : 1;
}

}  // namespace m2bert::ops
