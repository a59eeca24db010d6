#include "m2bert/ops/monarch_mix.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/dtype.h"

namespace m2bert::ops {

void check_filters(const char* op, const MixerFilters& f) {
  require(f.k.ndim() == 2, "[", op, "] k has shape ", f.k.shape(), ", wants [L, H]");
  auto fits = [&](const std::optional<mx::array>& k) { return !k || k->shape() == f.k.shape(); };
  require(fits(f.k_rev) && fits(f.k2) && fits(f.k2_rev), "[", op, "] the filters differ in shape");
  require(f.k2.has_value() == f.D2.has_value() && f.k2_rev.has_value() == (f.k2 && f.k_rev), "[", op, "] parts of a filter are missing");
  require(!f.spectrum2 || f.k2, "[", op, "] there is a spectrum2 without k2");
  require(f.D.size() == size_t(f.k.shape(1)) && (!f.D2 || f.D2->size() == f.D.size()), "[", op, "] D does not have ", f.k.shape(1),
          " values");
}

namespace {

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

// long_conv or long_conv_fallback.
using LongConv = decltype(&long_conv);

mx::array compose(LongConv long_conv, const mx::array& projected, const mx::array& u, const mx::array& short_weight,
                  const mx::array& short_bias, const MixerFilters& f, const LongConvOptions& options, mx::StreamOrDevice s) {
  auto convolve = [&](const mx::array& x, const mx::array& k, const std::optional<mx::array>& k_rev, const mx::array& D,
                      const std::optional<mx::array>& spectrum, const LongConvOptions& options) {
    return spectrum ? long_conv_with_spectrum(x, *spectrum, D, options, s) : long_conv(x, k, k_rev, D, options, s);
  };
  auto local = mx::astype(depthwise_conv1d_causal(projected, short_weight, short_bias, s), projected.dtype(), s);
  auto parts = mx::split(local, 3, 2, s);
  const auto &x1 = parts[0], &x2 = parts[1], &v = parts[2];
  auto y = mx::multiply(x2, convolve(mx::multiply(v, x1, s), f.k, f.k_rev, f.D, f.spectrum, options), s);
  if (f.k2) y = mx::add(y, convolve(mx::astype(u, y.dtype(), s), *f.k2, f.k2_rev, *f.D2, f.spectrum2, {}), s);
  return y;
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
  if (!options.gelu && !options.dropout_mask) {
    if (auto y = backend_for(s).monarch_mix(projected, u, short_weight, short_bias, f, mx::to_stream(s))) return *y;
  }
  return compose(long_conv, projected, u, short_weight, short_bias, f, options, s);
}

}  // namespace m2bert::ops
