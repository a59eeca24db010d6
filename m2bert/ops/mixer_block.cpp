#include "m2bert/ops/mixer_block.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/dtype.h"
#include "m2bert/ops/linear.h"

namespace m2bert::ops {

namespace {

void check(const mx::array& u, const MixerWeights& w) {
  require(u.ndim() == 3, "[mixer_block] u has shape ", u.shape(), ", wants [B, L, H]");
  const int H = u.shape(2);
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

mx::array mixer_block(const mx::array& u, const MixerWeights& w, const MixerFilters& f, const LongConvOptions& options,
                      mx::StreamOrDevice s) {
  check(u, w);
  if (!options.gelu && !options.dropout_mask) {
    check_filters("mixer_block", f);
    require(f.k.shape() == mx::Shape({u.shape(1), u.shape(2)}), "[mixer_block] k has shape ", f.k.shape(), ", wants [L, H] = [", u.shape(1),
            ", ", u.shape(2), "]");
    require(w.short_weight.ndim() == 3 && w.short_weight.shape(0) == 3 * u.shape(2) && w.short_bias.size() == size_t(3 * u.shape(2)),
            "[mixer_block] short_weight has shape ", w.short_weight.shape(), ", wants [", 3 * u.shape(2), ", 1, K] and a bias of as many");
    if (auto y = backend_for(s).mixer_block(u, w, f, mx::to_stream(s))) return *y;
  }
  auto projected = weight_matmul(u, w.in_weight, w.in_bias, s);
  auto mixed = monarch_mix(projected, u, w.short_weight, w.short_bias, f, options, s);
  return mx::astype(weight_matmul(mixed, w.out_weight, w.out_bias, s), u.dtype(), s);
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
