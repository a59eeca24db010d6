#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/host_arrays.h"
#include "m2bert/ops/backend/cpu/mixer_sequences.h"
#include "m2bert/ops/backend/cpu/packed_filters.h"
#include "m2bert/ops/backend/cpu/simd/packed_mixer_block_host.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

using Host = std::shared_ptr<const PackedMixerBlockHost>;

// Inputs: u, as many packed filters as `packed` says, and the filter networks, if there are any.
class MixerBlock : public PackedPrimitive<MixerBlock> {
 public:
  // packed: for each of the sequences' filters, whether it is packed or made from the networks.
  MixerBlock(mx::Stream s, Host weights, MixerSequences sequences, std::vector<bool> packed, const Positions<NetworkInput>& networks = {})
      : PackedPrimitive(s, "mixer_block"),
        weights_(std::move(weights)),
        sequences_(std::move(sequences)),
        packed_(std::move(packed)),
        networks_(networks) {}
  const char* name() const override { return "MixerBlock"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const MixerBlock&>(other);
    return o.weights_ == weights_ && o.sequences_ == sequences_ && o.packed_ == packed_ && o.networks_ == networks_;
  }
  static constexpr bool kInPlace = true;

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    auto next = in.begin() + 1;
    std::shared_ptr<const HostFilterNetworks> networks;
    std::vector<FilterSource<T>> filters;
    for (size_t i = 0; i < packed_.size(); ++i)
      filters.push_back({sequences_.filter_rows[i], packed_[i] ? (next++)->template data<FilterValue<T>>() : nullptr});
    if (next != in.end()) networks = std::make_shared<HostFilterNetworks>(host_networks(networks_, {next, in.end()}));
    for (auto& filter : filters) filter.networks = networks.get();
    return [weights = weights_, sequences = sequences_.sequences, filters, networks, u = in[0].data<T>(), y = out[0].data<T>()] {
      weights->run(u, MixerBatch<T>{sequences, filters}, y, threads());
    };
  }

 private:
  Host weights_;
  MixerSequences sequences_;
  std::vector<bool> packed_;
  Positions<NetworkInput> networks_;
};

// Inputs: u, and for each of the sequences' filters k and, if there is one, k2.
class MixerBlockFirst : public PackedPrimitive<MixerBlockFirst> {
 public:
  MixerBlockFirst(mx::Stream s, Host weights, std::vector<SequenceRows> sequences)
      : PackedPrimitive(s, "mixer_block"), weights_(std::move(weights)), sequences_(std::move(sequences)) {}
  const char* name() const override { return "MixerBlockFirst"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const MixerBlockFirst&>(other);
    return o.weights_ == weights_ && o.sequences_ == sequences_;
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    std::vector<cpu::FirstRowFilters> filters;
    for (size_t i = 1; i < in.size(); i += weights_->residual() ? 2 : 1)
      filters.push_back({in[i].data<float>(), weights_->residual() ? in[i + 1].data<float>() : nullptr});
    return [weights = weights_, sequences = sequences_, filters, u = in[0].data<T>(), y = out[0].data<T>()] {
      weights->run_first(u, sequences, filters, y, threads());
    };
  }

 private:
  Host weights_;
  std::vector<SequenceRows> sequences_;
};

class PackedWeights final : public PackedMixerBlock {
 public:
  explicit PackedWeights(Host weights) : weights_(std::move(weights)) {}

  mx::array operator()(const mx::array& u, const mx::array& filters, mx::StreamOrDevice s) const override {
    check(u, 3);
    if (u.size() == 0) return u;
    check_packed(u, u.shape(1), filters);
    return run(u, padded_sequences(u.shape(0), u.shape(1)), {filters}, {true}, std::nullopt, s);
  }

  mx::array operator()(const mx::array& u, const FilterNetworks& networks, mx::StreamOrDevice s) const override {
    check(u, 3);
    if (u.size() == 0) return u;
    check_networks(networks, u.shape(1));
    return run(u, padded_sequences(u.shape(0), u.shape(1)), {}, {false}, networks, s);
  }

  bool supports_varlen() const override { return true; }
  mx::array varlen(const mx::array& u, const CuSeqlens& cu_seqlens, const std::map<int, mx::array>& packed_filters,
                   const std::optional<FilterNetworks>& networks, mx::StreamOrDevice s) const override {
    check(u, 2);
    require(cu_seqlens.values().back() == u.shape(0), "[mixer_block] cu_seqlens ends at ", cu_seqlens.values().back(), ", u has ",
            u.shape(0), " rows");
    if (u.size() == 0) return u;
    if (networks) check_networks(*networks, networks->times.shape(0));
    const int most = std::max(networks ? networks->times.shape(0) : 0, packed_filters.empty() ? 0 : packed_filters.rbegin()->first);
    auto sequences = varlen_sequences(cu_seqlens, most);
    std::vector<mx::array> packed;
    std::vector<bool> is_packed;
    for (int rows : sequences.filter_rows) {
      const auto found = packed_filters.find(rows);
      is_packed.push_back(found != packed_filters.end());
      require(is_packed.back() || networks, "[mixer_block] there are no filters of ", rows, " rows, and no networks to make them");
      if (!is_packed.back()) continue;
      check_packed(u, rows, found->second);
      packed.push_back(found->second);
    }
    require(most >= cu_seqlens.longest(), "[mixer_block] a sequence has ", cu_seqlens.longest(), " tokens, the filters ", most, " rows");
    const bool needs_networks = packed.size() < is_packed.size();
    return run(u, std::move(sequences), packed, std::move(is_packed), needs_networks ? networks : std::nullopt, s);
  }

  bool supports_first() const override { return true; }
  mx::array first(const mx::array& u, const CuSeqlens& cu_seqlens, const std::map<int, ops::FirstRowFilters>& filters,
                  mx::StreamOrDevice s) const override {
    check(u, 2);
    require(cu_seqlens.values().back() == u.shape(0), "[mixer_block] cu_seqlens ends at ", cu_seqlens.values().back(), ", u has ",
            u.shape(0), " rows");
    const auto stream = mx::to_stream(s);
    std::vector<mx::array> inputs{contiguous(u, stream)};
    std::map<int, size_t> number;  // of the filters by their key
    for (const auto& [length, f] : filters) {
      require(f.k.ndim() == 2 && f.k.shape(1) == weights_->width() && f.k2.has_value() == weights_->residual() &&
                  (!f.k2 || f.k2->shape() == f.k.shape()),
              "[mixer_block] the filters of the first row have shape ", f.k.shape(), ", or a part is missing");
      number.emplace(length, number.size());
      inputs.push_back(float32_contiguous(f.k, stream));
      if (f.k2) inputs.push_back(float32_contiguous(*f.k2, stream));
    }
    std::vector<SequenceRows> sequences;
    for (int b = 0; b < cu_seqlens.sequences(); ++b) {
      const int length = cu_seqlens.length(b);
      const auto found = filters.lower_bound(length);
      require(length > 0 && found != filters.end(), "[mixer_block] sequence ", b, " has ", length,
              " tokens, and there are no filters for it");
      const int rows = found->second.k.shape(0);
      require(rows == 1 || rows >= length, "[mixer_block] sequence ", b, " has ", length, " tokens, its filters ", rows, " rows");
      sequences.push_back({cu_seqlens.begin(b), std::min(length, rows), number.at(found->first)});
    }
    const mx::Shape shape{cu_seqlens.sequences(), weights_->width()};
    if (sequences.empty()) return mx::zeros(shape, u.dtype(), stream);
    return mx::array(shape, u.dtype(), std::make_shared<MixerBlockFirst>(stream, weights_, std::move(sequences)), std::move(inputs));
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
  void check(const mx::array& u, size_t axes) const {
    require(u.ndim() == axes && u.shape(-1) == weights_->width(), "[mixer_block] u has shape ", u.shape(), ", the weights want [",
            axes == 3 ? "B, L" : "nnz", ", ", weights_->width(), "]");
    require_input_dtype("mixer_block", "u", u, weights_->in_dtype());
    require_input_dtype("mixer_block", "u", u, weights_->out_dtype());
  }
  void check_packed(const mx::array& u, int rows, const mx::array& filters) const {
    require(filters.dtype() == packed_filter_dtype(u.dtype()) && filters.nbytes() == packed_filter_bytes(rows, u.dtype()),
            "[mixer_block] the packed filters are for another length, width or dtype than u's, ", u.shape(), " ", u.dtype());
  }
  void check_networks(const FilterNetworks& networks, int rows) const {
    check_filter_networks("mixer_block", networks, rows, weights_->width());
    require(networks.k2.has_value() == weights_->residual(), "[mixer_block] the weights were packed ",
            weights_->residual() ? "with" : "without", " a second convolution, the filters are not");
  }

  mx::array run(const mx::array& u, MixerSequences sequences, const std::vector<mx::array>& packed, std::vector<bool> is_packed,
                const std::optional<FilterNetworks>& networks, mx::StreamOrDevice s) const {
    const auto stream = mx::to_stream(s);
    std::vector<mx::array> arrays{contiguous(u, stream)};
    for (const mx::array& filters : packed) arrays.push_back(contiguous(filters, stream));
    NamedInputs<NetworkInput> inputs;
    if (networks) add_networks(inputs, *networks, stream);
    arrays.insert(arrays.end(), inputs.arrays.begin(), inputs.arrays.end());
    auto primitive = std::make_shared<MixerBlock>(stream, weights_, std::move(sequences), std::move(is_packed), inputs.positions);
    return mx::array(u.shape(), u.dtype(), std::move(primitive), std::move(arrays));
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
