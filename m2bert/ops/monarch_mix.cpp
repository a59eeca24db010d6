#include "m2bert/ops/monarch_mix.h"

#include "m2bert/error.h"
#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/kernels/kernel.h"
#include "m2bert/ops/kernels/mixer.h"
#include "m2bert/ops/long_conv.h"

namespace m2bert::ops {

namespace {
void check(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias) {
  require(projected.ndim() == 3 && projected.shape(2) % 3 == 0, "[monarch_mix] projected has shape ", projected.shape(),
          ", wants [B, L, 3 H]");
  const int H = projected.shape(2) / 3;
  require(u.shape() == mx::Shape({projected.shape(0), projected.shape(1), H}), "[monarch_mix] u has shape ", u.shape(), ", projected ",
          projected.shape());
  require(short_weight.shape() == mx::Shape({3 * H, 1, 3}) && short_bias.size() == size_t(3 * H), "[monarch_mix] short_weight has shape ",
          short_weight.shape(), ", wants [", 3 * H, ", 1, 3] and a bias of as many");
}

void check_filters(const char* op, const MixerFilters& f) {
  require(f.k.ndim() == 2, "[", op, "] k has shape ", f.k.shape(), ", wants [L, H]");
  auto fits = [&](const std::optional<mx::array>& k) { return !k || k->shape() == f.k.shape(); };
  require(fits(f.k_rev) && fits(f.k2) && fits(f.k2_rev), "[", op, "] the filters differ in shape");
  require(f.k2.has_value() == f.D2.has_value() && f.k2_rev.has_value() == (f.k2 && f.k_rev), "[", op, "] parts of a filter are missing");
  require(f.D.size() == size_t(f.k.shape(1)) && (!f.D2 || f.D2->size() == f.D.size()), "[", op, "] D does not have ", f.k.shape(1),
          " values");
}
}  // namespace

mx::array monarch_mix_reference(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                                const MixerFilters& f, mx::StreamOrDevice s) {
  check(projected, u, short_weight, short_bias);
  auto parts = mx::split(depthwise_conv1d_causal(projected, short_weight, short_bias, s), 3, 2, s);
  auto y = mx::multiply(parts[1], long_conv(mx::multiply(parts[2], parts[0], s), f.k, f.k_rev, f.D, {}, s), s);
  return f.k2 ? mx::add(y, long_conv(u, *f.k2, f.k2_rev, *f.D2, {}, s), s) : y;
}

bool has_mixer_kernel(int H, mx::Dtype dtype, mx::StreamOrDevice s) { return kernels::mixer_takes(H, dtype, s); }

mx::array monarch_mix(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                      const MixerFilters& f, mx::StreamOrDevice s) {
  check(projected, u, short_weight, short_bias);
  check_filters("monarch_mix", f);
  require(f.k.shape() == mx::Shape({u.shape(1), u.shape(2)}), "[monarch_mix] k has shape ", f.k.shape(), ", wants [L, H] = [", u.shape(1),
          ", ", u.shape(2), "]");
  if (projected.size() == 0 || !has_mixer_kernel(u.shape(2), projected.dtype(), s)) {
    return monarch_mix_reference(projected, u, short_weight, short_bias, f, s);
  }
  return kernels::mix_from_filters(projected, u, short_weight, short_bias, f, kernels::stream_of(s));
}

mx::array prepare_mixer(const MixerFilters& f, mx::StreamOrDevice s) {
  check_filters("prepare_mixer", f);
  return kernels::prepare_mixer(f, kernels::stream_of(s));
}

mx::array monarch_mix_prepared(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                               const mx::array& prepared, bool residual, mx::StreamOrDevice s) {
  check(projected, u, short_weight, short_bias);
  return kernels::mix(projected, residual ? std::optional(u) : std::nullopt, short_weight, short_bias, prepared, kernels::stream_of(s));
}

}  // namespace m2bert::ops
