#include "m2bert/ops/monarch_mix.h"

#include <algorithm>
#include <bit>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/dtype.h"
#include "m2bert/ops/host_array.h"
#include "m2bert/ops/padding.h"

namespace m2bert::ops {

void check_filters(const char* op, const MixerFilters& f) {
  require(f.k.ndim() == 2, "[", op, "] k has shape ", f.k.shape(), ", wants [L, H]");
  auto fits = [&](const std::optional<mx::array>& k) { return !k || k->shape() == f.k.shape(); };
  require(fits(f.k_rev) && fits(f.k2) && fits(f.k2_rev), "[", op, "] the filters differ in shape");
  require(f.k2.has_value() == f.D2.has_value() && f.k2_rev.has_value() == (f.k2 && f.k_rev), "[", op, "] parts of a filter are missing");
  require(!f.spectrum2 || f.k2, "[", op, "] there is a spectrum2 without k2");
  for (const auto& [name, a] : {std::pair("k", std::optional(f.k)),
                                {"k_rev", f.k_rev},
                                {"D", std::optional(f.D)},
                                {"k2", f.k2},
                                {"D2", f.D2},
                                {"k2_rev", f.k2_rev}}) {
    if (a) require_float(op, name, *a);
  }
  require(f.D.size() == size_t(f.k.shape(1)) && (!f.D2 || f.D2->size() == f.D.size()), "[", op, "] D does not have ", f.k.shape(1),
          " values");
}

namespace {

// axes: 3 for [B, L, 3 H], 2 for rows without padding.
void check(size_t axes, const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias) {
  require(projected.ndim() == axes && projected.shape(-1) % 3 == 0, "[monarch_mix] projected has shape ", projected.shape(), ", wants ",
          axes == 3 ? "[B, L, 3 H]" : "[nnz, 3 H]");
  const int H = projected.shape(-1) / 3;
  auto shape = projected.shape();
  shape.back() = H;
  require(u.shape() == shape, "[monarch_mix] u has shape ", u.shape(), ", projected ", projected.shape());
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
  check(3, projected, u, short_weight, short_bias);
  check_filters("monarch_mix", f);
  require(f.k.shape() == mx::Shape({u.shape(1), u.shape(2)}), "[monarch_mix] k has shape ", f.k.shape(), ", wants [L, H] = [", u.shape(1),
          ", ", u.shape(2), "]");
}

void check_varlen(const mx::array& projected, const mx::array& u, const CuSeqlens& cu_seqlens, const mx::array& short_weight,
                  const mx::array& short_bias, const MixerFilters& f) {
  check(2, projected, u, short_weight, short_bias);
  check_filters("monarch_mix_varlen", f);
  require(!cu_seqlens.has_unused_rows(), "[monarch_mix_varlen] cu_seqlens has unused rows between its sequences");
  require(cu_seqlens.values().back() == u.shape(0), "[monarch_mix_varlen] cu_seqlens ends at ", cu_seqlens.values().back(), ", u has ",
          u.shape(0), " rows");
  require(f.k.shape(0) >= cu_seqlens.longest() && f.k.shape(1) == u.shape(1), "[monarch_mix_varlen] k has shape ", f.k.shape(), ", wants [",
          cu_seqlens.longest(), " or more, ", u.shape(1), "]");
}

// long_conv or long_conv_fallback.
using LongConv = decltype(&long_conv);

// tokens: [B, L, 1], false at the padding, where the inputs of the long convolutions are 0; projected and u are 0 there. Absent: no
// padding.
mx::array compose(LongConv long_conv, const mx::array& projected, const mx::array& u, const mx::array& short_weight,
                  const mx::array& short_bias, const MixerFilters& f, const LongConvOptions& options, mx::StreamOrDevice s,
                  const std::optional<mx::array>& tokens = {}) {
  auto convolve = [&](const mx::array& x, const mx::array& k, const std::optional<mx::array>& k_rev, const mx::array& D,
                      const std::optional<mx::array>& spectrum, const LongConvOptions& options) {
    return spectrum ? long_conv_with_spectrum(x, *spectrum, D, options, s) : long_conv(x, k, k_rev, D, options, s);
  };
  auto local = mx::astype(depthwise_conv1d_causal(projected, short_weight, short_bias, s), projected.dtype(), s);
  auto parts = mx::split(local, 3, 2, s);
  const auto &x1 = parts[0], &x2 = parts[1], &v = parts[2];
  auto gated = mx::multiply(v, x1, s);
  if (tokens) gated = mx::where(*tokens, gated, mx::array(0, gated.dtype()), s);
  auto y = mx::multiply(x2, convolve(gated, f.k, f.k_rev, f.D, f.spectrum, options), s);
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

namespace {

// Where the rows are in a batch [B, L] that is padded on the right.
mx::array padded_indices(const CuSeqlens& cu_seqlens, int L) {
  std::vector<int32_t> indices;
  for (int b = 0; b < cu_seqlens.sequences(); ++b) {
    for (int t = 0; t < cu_seqlens.length(b); ++t) indices.push_back(b * L + t);
  }
  return host_array(indices.data(), {int(indices.size())});
}

mx::array compose_varlen(LongConv long_conv, const mx::array& projected, const mx::array& u, const CuSeqlens& cu_seqlens,
                         const mx::array& short_weight, const mx::array& short_bias, const MixerFilters& f, mx::StreamOrDevice s) {
  if (u.size() == 0) return u;
  const int B = cu_seqlens.sequences(), L = f.k.shape(0);
  const auto indices = padded_indices(cu_seqlens, L);
  auto padded = [&](const mx::array& rows) { return pad_input(rows, indices, B, L, s); };
  const auto tokens = padded(mx::full({u.shape(0), 1}, true, mx::bool_, s));
  const auto y = compose(long_conv, padded(projected), padded(u), short_weight, short_bias, f, {}, s, tokens);
  return index_first_axis(mx::reshape(y, {B * L, u.shape(1)}, s), indices, s);
}

}  // namespace

mx::array monarch_mix_varlen_fallback(const mx::array& projected, const mx::array& u, const CuSeqlens& cu_seqlens,
                                      const mx::array& short_weight, const mx::array& short_bias, const MixerFilters& f,
                                      mx::StreamOrDevice s) {
  check_varlen(projected, u, cu_seqlens, short_weight, short_bias, f);
  return compose_varlen(long_conv_fallback, projected, u, cu_seqlens, short_weight, short_bias, f, s);
}

mx::array monarch_mix_varlen(const mx::array& projected, const mx::array& u, const CuSeqlens& cu_seqlens, const mx::array& short_weight,
                             const mx::array& short_bias, const MixerFilters& f, mx::StreamOrDevice s) {
  check_varlen(projected, u, cu_seqlens, short_weight, short_bias, f);
  if (auto y = backend_for(s).monarch_mix_varlen(projected, u, cu_seqlens, short_weight, short_bias, f, mx::to_stream(s))) return *y;
  return compose_varlen(long_conv, projected, u, cu_seqlens, short_weight, short_bias, f, s);
}

int varlen_filter_length(int length, int available) { return std::min(int(std::bit_ceil(unsigned(std::max(length, 1)))), available); }

}  // namespace m2bert::ops
