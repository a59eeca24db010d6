#include "m2bert/ops/backend/cuda/mixer_training.h"

#include <algorithm>
#include <bit>

#include "m2bert/ops/backend/cuda/kernel.h"
#include "m2bert/ops/backend/cuda/mixer_monarch.cuh"

namespace m2bert::ops::cuda {

namespace {

using Arrays = std::vector<mx::array>;

mx::array rows(const mx::array& a, int begin, int end, mx::Stream s) { return mx::slice(a, {begin, 0}, {end, a.shape(1)}, s); }

// Rows of a short filter whose result is the input, and whose result is 1.
mx::array constant_taps(int H, std::vector<float> taps, mx::Stream s) {
  taps.resize(8);
  return mx::broadcast_to(mx::array(taps.data(), {1, 8}, mx::float32), {H, 8}, s);
}
mx::array identity_taps(int H, mx::Stream s) { return constant_taps(H, {0, 0, 1}, s); }
mx::array one_taps(int H, mx::Stream s) { return constant_taps(H, {0, 0, 0, 1}, s); }

// The core as a function of a list of arrays.
struct Core {
  int L;
  bool bidirectional, residual, with_bias_rows;
  mx::Stream s;

  static Arrays flat(const mx::array& projected, const mx::array& u, const mx::array& short_filter, const MixerFilters& f) {
    Arrays all{projected, u, short_filter, f.k, f.D};
    for (const auto* a : {&f.k_rev, &f.k2, &f.D2, &f.k2_rev}) {
      if (*a) all.push_back(**a);
    }
    return all;
  }
  MixerFilters filters(const Arrays& all) const {
    MixerFilters f{all[3], all[4]};
    size_t at = 5;
    if (bidirectional) f.k_rev = all[at++];
    if (residual) f.k2 = all[at++], f.D2 = all[at++];
    if (residual && bidirectional) f.k2_rev = all[at++];
    return f;
  }

  // The result, and the packed filters for the backward pass.
  Arrays forward(const Arrays& in) const {
    const auto packed = pack_mixer_filters(filters(in), mx::bfloat16, s);
    return {mixer_core(MixerRows::of(in[0]), in[1], in[2], packed, L, {residual, with_bias_rows}, s), packed};
  }

  // x1 v through a filter, times x2; of u only the shape matters.
  mx::array convolve(const MixerRows& mixed, const mx::array& u, const Arrays& taps, const mx::array& packed, int filter = 0,
                     bool conjugate = false) const {
    return mixer_core(mixed, u, mx::concatenate(taps, 0, s), packed, L, {false, false, filter, conjugate}, s);
  }

  // Of y = x2 conv(s; k) + conv(u; k2) with s = x1 v, where dy [H, B L].
  Arrays backward(const Arrays& in, const mx::array& dy, const mx::array& packed) const {
    const auto &projected = in[0], &u = in[1], &short_filter = in[2];
    const auto f = filters(in);
    const int H = u.shape(0);
    auto taps = [&](int i) { return rows(short_filter, i * H, (i + 1) * H, s); };
    const auto reversed = pack_reversed_filters(f, packed, s);
    const auto identity = identity_taps(H, s), one = one_taps(H, s);
    const auto dx2 = convolve({projected, dy, projected, 0, 0, 2 * H}, dy, {taps(0), identity, taps(2)}, packed);
    const auto ds = convolve({projected, dy, dy, H, 0, 0}, dy, {taps(1), one, identity}, reversed.packed, 0, reversed.conjugate);
    const auto du =
        residual ? convolve({dy, dy, dy}, dy, {identity, one, one}, reversed.packed, 1, reversed.conjugate) : mx::zeros_like(u, s);
    auto [dprojected, dshort_filter] = local_gradient(projected, dx2, ds, short_filter);
    Arrays gradients{std::move(dprojected), du, std::move(dshort_filter)};
    const auto lags = filter_gradients(projected, u, short_filter, dy);
    add_filter_gradient(lags, 0, f.k, f.D, f.k_rev, gradients);
    if (residual) add_filter_gradient(lags, 1, *f.k2, *f.D2, f.k2_rev, gradients);
    return gradients;
  }

  // Of the projected rows, and of the short filter.
  std::pair<mx::array, mx::array> local_gradient(const mx::array& projected, const mx::array& dx2, const mx::array& ds,
                                                 const mx::array& short_filter) const {
    constexpr int threads = 256, positions = 8, shared_bytes = threads / 32 * 15 * 4;
    const int H = dx2.shape(0), B = dx2.shape(1) / L, items = B * ((L + positions - 1) / positions);
    const int parts = std::clamp(items / (4 * threads), 1, 16);
    const auto out =
        run({"mixer_local_gradient", "mixer_local_gradient", parts, H, threads, shared_bytes}, {projected, dx2, ds, short_filter},
            {projected.shape(), {parts, 3 * H, 8}}, {mx::bfloat16, mx::float32}, {H, B, L}, s);
    return {out[0], mx::sum(out[1], 0, false, s)};
  }

  // Of the filters at each lag: [H, filters, n] float32, lag t in place t modulo n.
  mx::array filter_gradients(const mx::array& projected, const mx::array& u, const mx::array& short_filter, const mx::array& dy) const {
    const int H = u.shape(0), B = u.shape(1) / L, filters = residual ? 2 : 1;
    const auto mixed = MixerRows::of(projected);
    Arrays inputs{mixed.x1, mixed.x2, mixed.v, u, short_filter, dy};
    Scalars scalars{H, B, L, mixed.x1_row, mixed.x2_row, mixed.v_row, false};
    if (L <= 128) {
      constexpr int threads = 256, shared_bytes = 128 * 132 * 4;
      inputs.push_back(short_filter);  // in place of the lengths, which are not read
      return run({"mixer_outer_gradient", "mixer_outer_gradient", filters, H, threads, shared_bytes}, inputs, {H, filters, 256},
                 mx::float32, scalars, s);
    }
    const int length = std::max(1024, int(std::bit_ceil(unsigned(L))));
    const int slot = std::min(length, int(std::bit_ceil(unsigned(std::max(2 * L, 16)))));
    const MonarchSizes sizes{length / 128};
    const std::string kernel = "mixer_filter_gradient_" + std::to_string(length);
    const Launch launch{kernel, kernel, filters, H, 32 * sizes.warps(), sizes.shared_bytes()};
    const int n = sizes.size();
    inputs.push_back(monarch_tables(length)), inputs.push_back(short_filter);
    scalars.push_back(slot);
    const auto spectra = run(launch, inputs, {H, filters, 2 * n}, mx::float32, scalars, s);
    const auto lags = mx::fft::ifft(mx::view(spectra, mx::complex64, s), n, 2, mx::fft::FFTNorm::Forward, s);
    return mx::real(lags, s);
  }

  // Appends those of k, D and k_rev, or of k2, D2 and k2_rev, in the order of flat().
  void add_filter_gradient(const mx::array& lags, int filter, const mx::array& k, const mx::array& D, const std::optional<mx::array>& k_rev,
                           Arrays& gradients) const {
    const int H = lags.shape(0), n = lags.shape(2);
    auto part = [&](int begin, int end, int stride) {
      const auto found = mx::slice(lags, {0, filter, begin}, {H, filter + 1, end}, {1, 1, stride}, s);
      return mx::transpose(mx::reshape(found, {H, -1}, s), s);
    };
    const auto dk = mx::astype(part(0, L, 1), k.dtype(), s);
    const auto dD = mx::astype(mx::reshape(part(0, 1, 1), D.shape(), s), D.dtype(), s);
    gradients.push_back(dk), gradients.push_back(dD);
    if (!k_rev) return;
    Arrays behind;
    if (L > 1) behind.push_back(part(n - 1, n - L, -1));
    behind.push_back(mx::zeros({1, H}, mx::float32, s));
    gradients.push_back(mx::astype(mx::concatenate(behind, 0, s), k_rev->dtype(), s));
  }
};

}  // namespace

mx::array differentiable_mixer_core(const mx::array& projected, const mx::array& u, const mx::array& short_filter,
                                    const MixerFilters& filters, int L, bool with_bias_rows, mx::Stream s) {
  const Core core{L, filters.k_rev.has_value(), filters.k2.has_value(), with_bias_rows, s};
  auto vjp = [core](const Arrays& in, const Arrays& cotangents, const Arrays& results) {
    return core.backward(in, rows(cotangents[0], 0, in[1].shape(0), core.s), results[1]);
  };
  auto function = mx::custom_vjp([core](const Arrays& in) { return core.forward(in); }, vjp);
  return function(Core::flat(projected, u, short_filter, filters))[0];
}

}  // namespace m2bert::ops::cuda
