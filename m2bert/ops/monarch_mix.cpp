#include "m2bert/ops/monarch_mix.h"

#include "m2bert/error.h"
#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/dtype.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/backend/cpu/monarch_mix_primitive.h"
#include "m2bert/ops/linear.h"

namespace m2bert::ops {

void check_filters(const char* op, const MixerFilters& f) {
  require(f.k.ndim() == 2, "[", op, "] k has shape ", f.k.shape(), ", wants [L, H]");
  auto fits = [&](const std::optional<mx::array>& k) { return !k || k->shape() == f.k.shape(); };
  require(fits(f.k_rev) && fits(f.k2) && fits(f.k2_rev), "[", op, "] the filters differ in shape");
  require(f.k2.has_value() == f.D2.has_value() && f.k2_rev.has_value() == (f.k2 && f.k_rev), "[", op, "] parts of a filter are missing");
  require(f.D.size() == size_t(f.k.shape(1)) && (!f.D2 || f.D2->size() == f.D.size()), "[", op, "] D does not have ", f.k.shape(1),
          " values");
}

namespace {

constexpr int kKernelTaps = 3;

void check(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias) {
  require(projected.ndim() == 3 && projected.shape(2) % 3 == 0, "[monarch_mix] projected has shape ", projected.shape(),
          ", wants [B, L, 3 H]");
  const int H = projected.shape(2) / 3;
  require(u.shape() == mx::Shape({projected.shape(0), projected.shape(1), H}), "[monarch_mix] u has shape ", u.shape(), ", projected ",
          projected.shape());
  require(short_weight.ndim() == 3 && short_weight.shape(0) == 3 * H && short_weight.shape(1) == 1 && short_weight.shape(2) >= 1 &&
              short_bias.size() == size_t(short_weight.shape(0)),
          "[monarch_mix] short_weight has shape ", short_weight.shape(), ", wants [", 3 * H, ", 1, K] and a bias of as many");
  require_float("monarch_mix", "projected", projected);
  require_float("monarch_mix", "u", u);
  require_float("monarch_mix", "short_weight", short_weight);
  require_float("monarch_mix", "short_bias", short_bias);
}

void check_mix(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
               const MixerFilters& f) {
  check(projected, u, short_weight, short_bias);
  check_filters("monarch_mix", f);
  require(f.k.shape() == mx::Shape({u.shape(1), u.shape(2)}), "[monarch_mix] k has shape ", f.k.shape(), ", wants [L, H] = [", u.shape(1),
          ", ", u.shape(2), "]");
}

// A long convolution or its reference; likewise below.
using LongConv = decltype(&long_conv);

mx::array compose(LongConv convolve, const mx::array& projected, const mx::array& u, const mx::array& short_weight,
                  const mx::array& short_bias, const MixerFilters& f, const LongConvOptions& options, mx::StreamOrDevice s) {
  auto local = mx::astype(depthwise_conv1d_causal(projected, short_weight, short_bias, s), projected.dtype(), s);
  auto parts = mx::split(local, 3, 2, s);
  auto y = mx::multiply(parts[1], convolve(mx::multiply(parts[2], parts[0], s), f.k, f.k_rev, f.D, options, s), s);
  if (f.k2) y = mx::add(y, convolve(mx::astype(u, y.dtype(), s), *f.k2, f.k2_rev, *f.D2, {}, s), s);
  return y;
}

void check_mixer(const mx::array& u, const MixerWeights& w) {
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

mx::array monarch_mix_fallback(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                                const MixerFilters& f, const LongConvOptions& options, mx::StreamOrDevice s) {
  check_mix(projected, u, short_weight, short_bias, f);
  return compose(long_conv_fallback, projected, u, short_weight, short_bias, f, options, s);
}

mx::array monarch_mix(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                      const MixerFilters& f, const LongConvOptions& options, mx::StreamOrDevice s) {
  check_mix(projected, u, short_weight, short_bias, f);
  const bool plain = short_weight.shape(2) == kKernelTaps && !options.gelu && !options.dropout_mask;
  if (!plain || projected.size() == 0 || !cpu::mixer_takes(u.shape(2), projected.dtype(), s)) {
    return compose(long_conv, projected, u, short_weight, short_bias, f, options, s);
  }
  return cpu::mix_from_filters(projected, u, short_weight, short_bias, f, cpu::stream_of(s));
}

mx::array mixer_block(const mx::array& u, const MixerWeights& w, const MixerFilters& f, const LongConvOptions& options,
                        mx::StreamOrDevice s) {
  check_mixer(u, w);
  auto projected = weight_matmul(u, w.in_weight, w.in_bias, s);
  auto mixed = monarch_mix(projected, u, w.short_weight, w.short_bias, f, options, s);
  return mx::astype(weight_matmul(mixed, w.out_weight, w.out_bias, s), u.dtype(), s);
}

mx::array mixer_block_fallback(const mx::array& u, const MixerWeights& w, const MixerFilters& f, const LongConvOptions& options,
                                  mx::StreamOrDevice s) {
  check_mixer(u, w);
  auto product = [&](const mx::array& x, const Weight& weight, const std::optional<mx::array>& bias) {
    return weight.scale ? weight_matmul(x, weight, bias, s) : linear_fallback(x, weight.values, bias, s);
  };
  auto projected = product(u, w.in_weight, w.in_bias);
  auto mixed = monarch_mix_fallback(projected, u, w.short_weight, w.short_bias, f, options, s);
  return mx::astype(product(mixed, w.out_weight, w.out_bias), u.dtype(), s);
}

}  // namespace m2bert::ops
