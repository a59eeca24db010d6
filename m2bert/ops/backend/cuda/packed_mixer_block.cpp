// The Monarch Mixer with its projections: two products around the core's kernel.
#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/mixer_core.h"
#include "m2bert/ops/backend/cuda/mixer_inputs.cuh"
#include "m2bert/ops/backend/cuda/mixer_weights.h"
#include "m2bert/ops/backend/cuda/product.h"
#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/filter_network.h"
#include "m2bert/ops/linear.h"

namespace m2bert::ops {

namespace cuda {
namespace {

// The filters [L, H] that networks compute.
MixerFilters evaluate(const FilterNetworks& f, mx::Stream s) {
  auto filter = [&](const FilterNetwork& n, const mx::array& times, const mx::array& deltas) {
    return exponential_decay(mx::matmul(float32(n.features, s), mx::transpose(float32(n.weight, s), s), s), times, deltas, s);
  };
  MixerFilters filters{filter(f.k, f.times, f.deltas), f.D};
  if (f.k_rev) filters.k_rev = filter(*f.k_rev, f.times, f.deltas);
  if (f.k2) filters.k2 = filter(*f.k2, *f.times2, *f.deltas2), filters.D2 = f.D2;
  if (f.k2_rev) filters.k2_rev = filter(*f.k2_rev, *f.times2, *f.deltas2);
  return filters;
}

// Of the first L positions.
FilterNetworks first_rows(FilterNetworks f, int L, mx::Stream s) {
  auto cut = [&](mx::array& a) {
    auto shape = a.shape();
    shape[0] = L;
    a = mx::slice(a, mx::Shape(shape.size(), 0), shape, s);
  };
  cut(f.times), cut(f.k.features);
  if (f.times2) cut(*f.times2);
  for (auto* network : {&f.k_rev, &f.k2, &f.k2_rev}) {
    if (*network) cut((*network)->features);
  }
  return f;
}

// Sequences beyond the kernels' reach: composed of MLX's operations, on spectra. Packed, these are one array: spectrum and skip term of the
// first filter, then of the second one.
struct ComposedCore {
  int L, H;
  bool residual;

  int spectrum_size() const { return 2 * spectrum_rows(L) * H; }
  int size() const { return (residual ? 2 : 1) * (spectrum_size() + H); }

  static mx::array pack(const MixerFilters& f, mx::Stream s) {
    std::vector<mx::array> parts;
    auto add = [&](const mx::array& k, const std::optional<mx::array>& k_rev, const mx::array& D) {
      parts.push_back(mx::reshape(mx::view(long_conv_spectrum(k, k_rev, s), mx::float32, s), {-1}, s));
      parts.push_back(mx::reshape(float32(D, s), {-1}, s));
    };
    add(f.k, f.k_rev, f.D);
    if (f.k2) add(*f.k2, f.k2_rev, *f.D2);
    return mx::concatenate(parts, 0, s);
  }

  mx::array operator()(const mx::array& projected, const mx::array& u, const MixerWeights& w, const mx::array& packed, mx::Stream s) const {
    auto convolve = [&](const mx::array& x, int i) {
      const int begin = i * (spectrum_size() + H), end = begin + spectrum_size();
      const auto spectrum = mx::view(mx::reshape(mx::slice(packed, {begin}, {end}, s), {spectrum_rows(L), 2 * H}, s), mx::complex64, s);
      return long_conv_with_spectrum(x, spectrum, mx::slice(packed, {end}, {end + H}, s), {}, s);
    };
    const auto local = mx::astype(depthwise_conv1d_causal(projected, w.short_weight, w.short_bias, s), projected.dtype(), s);
    const auto parts = mx::split(local, 3, 2, s);
    const auto y = mx::multiply(parts[1], convolve(mx::multiply(parts[2], parts[0], s), 0), s);
    return residual ? mx::add(y, convolve(u, 1), s) : y;
  }
};

class PackedBlock final : public PackedMixerBlock {
 public:
  PackedBlock(const MixerWeights& w, bool residual, mx::Stream s)
      : weights_(w), residual_(residual), short_filter_(short_filter(w.short_weight, w.short_bias, w.in_bias, s)), out_(out_weight(w, s)) {
    mx::eval(w.in_weight.values, short_filter_, out_);
  }

  mx::array operator()(const mx::array& u, const mx::array& filters, mx::StreamOrDevice device) const override {
    check(u, 3);
    if (u.size() == 0) return u;
    require(filters.dtype() == packed_dtype(u.dtype()) && filters.nbytes() == packed_filter_bytes(u.shape(1), u.dtype()),
            "[mixer_block] the packed filters are for another length, width or dtype than u's, ", u.shape(), " ", u.dtype());
    const auto s = mx::to_stream(device);
    const int L = u.shape(1);
    if (L > longest_mixer_core(u.dtype())) return composed(u, filters, s);
    const auto channels = channel_major(u, s);
    const auto y = mixer_core(MixerInputRows::of(product(weights_.in_weight.values, channels, s)), channels, short_filter_, filters, L,
                              {residual_, weights_.out_bias.has_value()}, s);
    return position_major(product(out_, y, s), u, s);
  }

  mx::array operator()(const mx::array& u, const FilterNetworks& networks, mx::StreamOrDevice s) const override {
    check(u, 3);
    if (u.size() == 0) return u;
    check_filter_networks("mixer_block", networks, u.shape(1), u.shape(2));
    require(networks.k2.has_value() == residual_, "[mixer_block] the weights were packed ", residual_ ? "with" : "without",
            " a second convolution, the filters are not");
    return (*this)(u, pack_filters(networks, u.dtype(), s), s);
  }

  bool supports_varlen() const override { return true; }
  int row_alignment() const override { return 8; }

  // Up to that of a kernel. Beyond all kernels, each length is composed on its own.
  int filter_length(int tokens, int l_max) const override {
    if (tokens > longest_mixer_core(dtype())) return tokens;
    return std::min(std::max(varlen_filter_length(tokens, l_max), shortest_mixer_core(dtype())), l_max);
  }

  // One launch for each run of sequences whose kernel is the same.
  mx::array varlen(const mx::array& u, const CuSeqlens& cu_seqlens, const std::map<int, mx::array>& packed_filters,
                   const std::optional<FilterNetworks>& networks, mx::StreamOrDevice device) const override {
    check(u, 2);
    require(cu_seqlens.values().back() == u.shape(0), "[mixer_block] cu_seqlens ends at ", cu_seqlens.values().back(), ", u has ",
            u.shape(0), " rows");
    const int most = std::max(networks ? networks->times.shape(0) : 0, packed_filters.empty() ? 0 : packed_filters.rbegin()->first);
    require(most >= cu_seqlens.longest(), "[mixer_block] a sequence has ", cu_seqlens.longest(), " tokens, the filters ", most, " rows");
    if (u.size() == 0) return u;
    const auto s = mx::to_stream(device);
    const auto channels = contiguous_channel_major(u, s), projected = mx::matmul(weights_.in_weight.values, channels, s);
    std::optional<mx::array> y;
    std::vector<std::pair<int, mx::array>> others;  // parts of y that other launches make, by their first column
    for (const auto& [first, last, L] : runs(cu_seqlens, most)) {
      const auto filters = filters_of(L, packed_filters, networks, u.dtype(), s);
      if (L > longest_mixer_core(u.dtype())) {
        for (int b = first; b < last; ++b) {
          const int begin = cu_seqlens.begin(b);
          others.emplace_back(begin, composed_columns(channels, projected, begin, cu_seqlens.length(b), filters, s));
        }
        continue;
      }
      const auto table = mx::slice(cu_seqlens.table(), {2 * first}, {2 * last + 1}, s);
      const auto core = mixer_core(MixerInputRows::of(projected), channels, short_filter_, filters, L,
                                   {residual_, weights_.out_bias && !y, 0, false, table}, s);
      const int begin = cu_seqlens.begin(first), end = cu_seqlens.values()[size_t(last)];
      if (y) {
        others.emplace_back(begin, mx::slice(core, {0, begin}, {width(), end}, s));
      } else {
        y = core;
      }
    }
    if (!y) y = with_bias_rows(mx::zeros(channels.shape(), channels.dtype(), s), s);
    for (const auto& [begin, part] : others) {
      y = mx::slice_update(*y, part, mx::Shape{0, begin}, mx::Shape{width(), begin + part.shape(1)}, s);
    }
    return position_major(mx::matmul(out_, *y, s), u, s);
  }

  mx::array pack_filters(const MixerFilters& filters, mx::Dtype dtype, mx::StreamOrDevice device) const override {
    check_filters("pack_filters", filters);
    const auto s = mx::to_stream(device);
    if (filters.k.shape(0) <= longest_mixer_core(dtype)) return pack_mixer_filters(filters, dtype, s);
    return mx::view(ComposedCore::pack(filters, s), packed_dtype(dtype), s);
  }

  mx::array pack_filters(const FilterNetworks& networks, mx::Dtype dtype, mx::StreamOrDevice device) const override {
    require(networks.times.ndim() == 1 && networks.deltas.ndim() == 1, "[pack_filters] times has shape ", networks.times.shape(),
            ", deltas ", networks.deltas.shape(), ", want [L] and [H]");
    check_filter_networks("pack_filters", networks, networks.times.shape(0), networks.deltas.shape(0));
    return pack_filters(evaluate(networks, mx::to_stream(device)), dtype, device);
  }

  size_t packed_filter_bytes(int L, mx::Dtype dtype) const override {
    if (L > longest_mixer_core(dtype)) return sizeof(float) * size_t(ComposedCore{L, width(), residual_}.size());
    return sizeof(float) * size_t(packed_mixer_filter_size(L, width(), residual_, dtype));
  }

 private:
  static mx::Dtype packed_dtype(mx::Dtype dtype) { return dtype == mx::float32 ? mx::float32 : mx::uint32; }
  int width() const { return weights_.out_weight.values.shape(0); }
  mx::Dtype dtype() const { return weights_.in_weight.values.dtype(); }

  void check(const mx::array& u, size_t ndim) const {
    require(u.ndim() == ndim && u.shape(-1) == width(), "[mixer_block] u has shape ", u.shape(), ", wants ",
            ndim == 3 ? "[B, L, " : "[nnz, ", width(), "]");
    require(u.dtype() == dtype(), "[mixer_block] u is ", u.dtype(), ", the weights want another dtype");
  }

  // Sequences first ... last - 1, whose filters have L rows.
  struct Run {
    int first, last, L;
  };
  std::vector<Run> runs(const CuSeqlens& cu_seqlens, int l_max) const {
    std::vector<Run> all;
    for (int b = 0; b < cu_seqlens.sequences(); ++b) {
      const int tokens = cu_seqlens.length(b), L = filter_length(tokens, l_max);
      if (all.empty() && tokens == 0) continue;
      if (!all.empty() && (tokens == 0 || L == all.back().L)) {
        all.back().last = b + 1;
      } else {
        all.push_back({b, b + 1, L});
      }
    }
    return all;
  }

  mx::array filters_of(int L, const std::map<int, mx::array>& packed, const std::optional<FilterNetworks>& networks, mx::Dtype dtype,
                       mx::Stream s) const {
    if (const auto found = packed.find(L); found != packed.end()) {
      require(found->second.dtype() == packed_dtype(dtype) && found->second.nbytes() == packed_filter_bytes(L, dtype),
              "[mixer_block] the packed filters of ", L, " rows are for another length, width or dtype");
      return found->second;
    }
    require(networks.has_value(), "[mixer_block] there are no filters of ", L, " rows, and no networks to make them");
    require(networks->k2.has_value() == residual_, "[mixer_block] the weights were packed ", residual_ ? "with" : "without",
            " a second convolution, the filters are not");
    return pack_filters(first_rows(*networks, L, s), dtype, s);
  }

  // The core of one sequence, [H, length], from channels and projected columns of all.
  mx::array composed_columns(const mx::array& channels, const mx::array& projected, int begin, int length, const mx::array& filters,
                             mx::Stream s) const {
    auto sequence = [&](const mx::array& x) {
      return mx::expand_dims(mx::transpose(mx::slice(x, {0, begin}, {x.shape(0), begin + length}, s), s), 0, s);
    };
    auto p = sequence(projected);
    if (weights_.in_bias) p = mx::astype(mx::add(p, *weights_.in_bias, s), projected.dtype(), s);
    const ComposedCore core{length, width(), residual_};
    return channel_major(core(p, sequence(channels), weights_, mx::view(filters, mx::float32, s), s), s);
  }

  // What the product that adds a bias takes.
  mx::array with_bias_rows(const mx::array& y, mx::Stream s) const {
    if (!weights_.out_bias) return y;
    const int columns = y.shape(1);
    return mx::concatenate({y, mx::ones({1, columns}, y.dtype(), s), mx::zeros({BIAS_ROWS - 1, columns}, y.dtype(), s)}, 0, s);
  }

  mx::array composed(const mx::array& u, const mx::array& filters, mx::Stream s) const {
    const auto projected = linear(u, weights_.in_weight.values, weights_.in_bias, s);
    const ComposedCore core{u.shape(1), width(), residual_};
    return linear(core(projected, u, weights_, mx::view(filters, mx::float32, s), s), weights_.out_weight.values, weights_.out_bias, s);
  }

  MixerWeights weights_;
  bool residual_;
  mx::array short_filter_, out_;
};

}  // namespace
}  // namespace cuda

std::unique_ptr<PackedMixerBlock> CudaBackend::pack_mixer_block(const MixerWeights& w, bool residual, mx::Stream s) const {
  const auto dtype = w.in_weight.values.dtype();
  const int H = w.out_weight.values.shape(0);
  if (w.in_weight.scale || w.out_weight.scale || (dtype != mx::bfloat16 && dtype != mx::float32) || w.out_weight.values.dtype() != dtype ||
      w.in_weight.values.shape() != mx::Shape{3 * H, H} || w.out_weight.values.shape(1) != H || H % 16 != 0) {
    return nullptr;
  }
  if (w.short_weight.ndim() != 3 || w.short_weight.shape(2) != 3) return nullptr;
  require(w.short_weight.shape(0) == 3 * H, "[pack_mixer_block] short_weight has shape ", w.short_weight.shape(), ", in_weight ",
          w.in_weight.values.shape());
  return std::make_unique<cuda::PackedBlock>(w, residual, s);
}

}  // namespace m2bert::ops
