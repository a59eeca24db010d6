#include "m2bert/ops/mixer_block.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/dtype.h"
#include "m2bert/ops/linear.h"

namespace m2bert::ops {

namespace {

void check(const mx::array& u, const MixerWeights& w, size_t ndim = 3) {
  require(u.ndim() == ndim, "[mixer_block] u has shape ", u.shape(), ", wants ", ndim == 3 ? "[B, L, H]" : "[rows, H]");
  const int H = u.shape(-1);
  auto wants = [](const char* name, const mx::array& x, const mx::Shape& shape, bool quantized = false) {
    require(x.shape() == shape, "[mixer_block] ", name, " has shape ", x.shape(), ", wants ", shape);
    if (!quantized) require_float("mixer_block", name, x);
  };
  require_float("mixer_block", "u", u);
  wants("in_weight", w.in_weight.values, {3 * H, H}, w.in_weight.scale.has_value());
  wants("out_weight", w.out_weight.values, {H, H}, w.out_weight.scale.has_value());
  if (w.in_bias) wants("in_bias", *w.in_bias, {3 * H});
  if (w.out_bias) wants("out_bias", *w.out_bias, {H});
}

}  // namespace

namespace {

// That mixer_block's kernels may read them.
void check_kernel_arguments(const MixerWeights& w, const MixerFilters& f, int H) {
  check_filters("mixer_block", f);
  require(w.short_weight.ndim() == 3 && w.short_weight.shape(0) == 3 * H && w.short_bias.size() == size_t(3 * H),
          "[mixer_block] short_weight has shape ", w.short_weight.shape(), ", wants [", 3 * H, ", 1, K] and a bias of as many");
}

}  // namespace

mx::array mixer_block(const mx::array& u, const MixerWeights& w, const MixerFilters& f, const LongConvOptions& options,
                      mx::StreamOrDevice s) {
  check(u, w);
  if (!options.gelu && !options.dropout_mask) {
    check_kernel_arguments(w, f, u.shape(2));
    require(f.k.shape() == mx::Shape({u.shape(1), u.shape(2)}), "[mixer_block] k has shape ", f.k.shape(), ", wants [L, H] = [", u.shape(1),
            ", ", u.shape(2), "]");
    if (auto y = backend_for(s).mixer_block(u, w, f, mx::to_stream(s))) return *y;
  }
  auto projected = weight_matmul(u, w.in_weight, w.in_bias, s);
  auto mixed = monarch_mix(projected, u, w.short_weight, w.short_bias, f, options, s);
  return mx::astype(weight_matmul(mixed, w.out_weight, w.out_bias, s), u.dtype(), s);
}

mx::array mixer_block_varlen(const mx::array& u, const CuSeqlens& cu_seqlens, const MixerWeights& w, const MixerFilters& f,
                             mx::StreamOrDevice s) {
  check(u, w, 2);
  check_kernel_arguments(w, f, u.shape(1));
  require(cu_seqlens.values().back() == u.shape(0) && cu_seqlens.longest() <= f.k.shape(0), "[mixer_block] cu_seqlens ends at ",
          cu_seqlens.values().back(), " and has sequences of up to ", cu_seqlens.longest(), " rows, u has ", u.shape(0), " rows, k ",
          f.k.shape(0));
  if (auto y = backend_for(s).mixer_block_varlen(u, cu_seqlens, w, f, mx::to_stream(s))) return *y;
  const auto mixed = monarch_mix_varlen(weight_matmul(u, w.in_weight, w.in_bias, s), u, cu_seqlens, w.short_weight, w.short_bias, f, s);
  return mx::astype(weight_matmul(mixed, w.out_weight, w.out_bias, s), u.dtype(), s);
}

int mixer_row_alignment(const MixerWeights& w, int L, mx::Dtype dtype, mx::StreamOrDevice s) {
  return backend_for(s).mixer_row_alignment(w, L, dtype);
}

mx::array mixer_block_fallback(const mx::array& u, const MixerWeights& w, const MixerFilters& f, const LongConvOptions& options,
                               mx::StreamOrDevice s) {
  check(u, w);
  auto matmul = [&](const mx::array& x, const Weight& weight, const std::optional<mx::array>& bias) {
    return weight.scale ? weight_matmul(x, weight, bias, s) : linear_fallback(x, weight.values, bias, s);
  };
  auto projected = matmul(u, w.in_weight, w.in_bias);
  auto mixed = monarch_mix_fallback(projected, u, w.short_weight, w.short_bias, f, options, s);
  return mx::astype(matmul(mixed, w.out_weight, w.out_bias), u.dtype(), s);
}

}  // namespace m2bert::ops
