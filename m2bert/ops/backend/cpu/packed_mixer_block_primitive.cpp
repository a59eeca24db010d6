#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/host_arrays.h"
#include "m2bert/ops/backend/cpu/packed_filters.h"
#include "m2bert/ops/backend/cpu/simd/packed_mixer_block_host.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

using Host = std::shared_ptr<const PackedMixerBlockHost>;

// Inputs: u and packed filters.
class MixerBlockPacked : public PackedPrimitive<MixerBlockPacked> {
 public:
  MixerBlockPacked(mx::Stream s, Host weights) : PackedPrimitive(s, "mixer_block"), weights_(std::move(weights)) {}
  const char* name() const override { return "MixerBlockPacked"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const MixerBlockPacked&>(other).weights_ == weights_; }
  static constexpr bool kInPlace = true;

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [weights = weights_, filters = FilterSource<T>{in[1].data<FilterValue<T>>(), nullptr}, u = in[0].data<T>(), y = out[0].data<T>(),
            B = in[0].shape(0), L = in[0].shape(1)] { weights->run(u, B, L, filters, y, threads()); };
  }

 private:
  Host weights_;
};

// Inputs: u and the filter networks.
class MixerBlockNetworks : public PackedPrimitive<MixerBlockNetworks> {
 public:
  MixerBlockNetworks(mx::Stream s, Host weights, const Positions<NetworkInput>& networks)
      : PackedPrimitive(s, "mixer_block"), weights_(std::move(weights)), networks_(networks) {}
  const char* name() const override { return "MixerBlockNetworks"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const MixerBlockNetworks&>(other);
    return o.weights_ == weights_ && o.networks_ == networks_;
  }
  static constexpr bool kInPlace = true;

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [weights = weights_, networks = host_networks(networks_, {in.begin() + 1, in.end()}), u = in[0].data<T>(), y = out[0].data<T>(),
            B = in[0].shape(0), L = in[0].shape(1)] { weights->run(u, B, L, FilterSource<T>{nullptr, &networks}, y, threads()); };
  }

 private:
  Host weights_;
  Positions<NetworkInput> networks_;
};

class PackedWeights final : public PackedMixerBlock {
 public:
  explicit PackedWeights(Host weights) : weights_(std::move(weights)) {}

  mx::array operator()(const mx::array& u, const mx::array& filters, mx::StreamOrDevice s) const override {
    check(u);
    if (u.size() == 0) return u;
    require(filters.dtype() == packed_filter_dtype(u.dtype()) && filters.nbytes() == packed_filter_bytes(u.shape(1), u.dtype()),
            "[mixer_block] the packed filters are for another length, width or dtype than u's, ", u.shape(), " ", u.dtype());
    const auto stream = mx::to_stream(s);
    return mx::array(u.shape(), u.dtype(), std::make_shared<MixerBlockPacked>(stream, weights_),
                     {contiguous(u, stream), contiguous(filters, stream)});
  }

  mx::array operator()(const mx::array& u, const FilterNetworks& networks, mx::StreamOrDevice s) const override {
    check(u);
    if (u.size() == 0) return u;
    check_filter_networks("mixer_block", networks, u.shape(1), u.shape(2));
    require(networks.k2.has_value() == weights_->residual(), "[mixer_block] the weights were packed ",
            weights_->residual() ? "with" : "without", " a second convolution, the filters are not");
    const auto stream = mx::to_stream(s);
    NamedInputs<NetworkInput> inputs;
    add_networks(inputs, networks, stream);
    std::vector<mx::array> arrays{contiguous(u, stream)};
    arrays.insert(arrays.end(), inputs.arrays.begin(), inputs.arrays.end());
    return mx::array(u.shape(), u.dtype(), std::make_shared<MixerBlockNetworks>(stream, weights_, inputs.positions), std::move(arrays));
  }

  mx::array pack_filters(const MixerFilters& filters, mx::Dtype dtype, mx::StreamOrDevice s) const override {
    check_filters("pack_filters", filters);
    return cpu::pack_filters(filters, dtype, mx::to_stream(s));
  }

  mx::array pack_filters(const FilterNetworks& networks, mx::Dtype dtype, mx::StreamOrDevice s) const override {
    require(networks.times.ndim() == 1 && networks.deltas.ndim() == 1, "[pack_filters] times has shape ", networks.times.shape(),
            ", deltas ", networks.deltas.shape(), ", want [L] and [H]");
    check_filter_networks("pack_filters", networks, networks.times.shape(0), networks.deltas.shape(0));
    return cpu::pack_filters(networks, dtype, mx::to_stream(s));
  }

  size_t packed_filter_bytes(int L, mx::Dtype dtype) const override { return cpu::packed_filter_bytes(L, weights_->width(), dtype); }

 private:
  void check(const mx::array& u) const {
    require(u.ndim() == 3 && u.shape(2) == weights_->width(), "[mixer_block] u has shape ", u.shape(), ", the weights want [B, L, ",
            weights_->width(), "]");
    require_input_dtype("mixer_block", "u", u, weights_->in_dtype());
    require_input_dtype("mixer_block", "u", u, weights_->out_dtype());
  }

  Host weights_;
};

}  // namespace
}  // namespace cpu

std::unique_ptr<PackedMixerBlock> CpuBackend::pack_mixer_block(const MixerWeights& w, bool residual, mx::Stream s) const {
  const auto in_dtype = cpu::host_dtype_of(w.in_weight), out_dtype = cpu::host_dtype_of(w.out_weight);
  if (!in_dtype || !out_dtype || w.short_weight.ndim() != 3 || w.short_weight.shape(2) != 3) return nullptr;
  if (in_dtype != out_dtype && in_dtype != cpu::HostDtype::int8 && out_dtype != cpu::HostDtype::int8) return nullptr;
  cpu::HostArrays host(s);
  const cpu::PackedMixerBlockSource source{*in_dtype,
                                           *out_dtype,
                                           host.weight(w.in_weight),
                                           host.weight(w.out_weight),
                                           host.floats(w.in_bias),
                                           host.floats(w.out_bias),
                                           host.floats(w.short_weight),
                                           host.floats(w.short_bias),
                                           residual};
  if (!cpu::packed_mixer_block_supports(source.in, source.out)) return nullptr;
  require(w.short_weight.shape(0) == source.in.q && w.short_bias.size() == size_t(source.in.q),
          "[pack_mixer_block] short_weight has shape ", w.short_weight.shape(), ", in_weight ", w.in_weight.values.shape());
  return std::make_unique<cpu::PackedWeights>(std::make_shared<const cpu::PackedMixerBlockHost>(source));
}

}  // namespace m2bert::ops
