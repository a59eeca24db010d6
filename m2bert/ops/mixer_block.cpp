#include "m2bert/ops/mixer_block.h"

#include "m2bert/error.h"
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
