#include "m2bert/ops/backend/cpu/packed_filters.h"

#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/profile_scope.h"
#include "m2bert/threads.h"

namespace m2bert::ops::cpu {

namespace {

size_t packed_size(int L, int H, mx::Dtype dtype) {
  return dtype == mx::float32 ? packed_filter_size<float>(H, L) : packed_filter_size<uint32_t>(H, L);
}

// The output of a primitive that packs filters [L, H] for sequences of `dtype`.
mx::array packed_by(std::shared_ptr<mx::Primitive> primitive, int L, int H, mx::Dtype dtype, const std::vector<mx::array>& inputs) {
  const int row = (dtype == mx::float32 ? 4 : 2) * kChannelBlock;
  return mx::array({int(packed_size(L, H, dtype) / size_t(row)), row}, packed_filter_dtype(dtype), std::move(primitive), inputs);
}

// The data of such an output.
class PackedMemory {
 public:
  explicit PackedMemory(mx::array& filters) : is_float32_(filters.dtype() == mx::float32), at_(filters.data<float>()) {}

  // Calls f with a pointer to float or uint32_t.
  template <class F>
  void visit(const F& f) const {
    if (is_float32_) {
      f(static_cast<float*>(at_));
    } else {
      f(static_cast<uint32_t*>(at_));
    }
  }

 private:
  bool is_float32_;
  void* at_;
};

enum class FilterInput { k, D, k_rev, k2, D2, k2_rev };

class PackFilters : public PackedPrimitive<PackFilters> {
 public:
  PackFilters(mx::Stream s, const Positions<FilterInput>& inputs) : PackedPrimitive(s, "pack_filters"), inputs_(inputs) {}
  const char* name() const override { return "PackFilters"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const PackFilters&>(other).inputs_ == inputs_; }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    using In = FilterInput;
    auto at = [&](In name) { return inputs_.data<float>(in, name); };
    return [k = at(In::k), D = at(In::D), k_rev = at(In::k_rev), k2 = at(In::k2), D2 = at(In::D2), k2_rev = at(In::k2_rev),
            L = in[0].shape(0), H = in[0].shape(1), packed = PackedMemory(out[0])] {
      const ProfileScope timed(ProfileStage::filters);
      packed.visit([&](auto* values) { pack_filter_spectra(k, k_rev, D, k2, k2_rev, D2, L, H, values, threads()); });
    };
  }

 private:
  Positions<FilterInput> inputs_;
};

class PackNetworks : public PackedPrimitive<PackNetworks> {
 public:
  PackNetworks(mx::Stream s, const Positions<NetworkInput>& inputs, int L, int H)
      : PackedPrimitive(s, "pack_filters"), inputs_(inputs), L_(L), H_(H) {}
  const char* name() const override { return "PackNetworks"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const PackNetworks&>(other);
    return o.inputs_ == inputs_ && o.L_ == L_ && o.H_ == H_;
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [networks = host_networks(inputs_, in), L = L_, H = H_, packed = PackedMemory(out[0])] {
      const ProfileScope timed(ProfileStage::filters);
      packed.visit([&](auto* values) { pack_filter_spectra(networks, L, H, values, threads()); });
    };
  }

 private:
  Positions<NetworkInput> inputs_;
  int L_, H_;
};

}  // namespace

mx::Dtype packed_filter_dtype(mx::Dtype dtype) { return dtype == mx::float32 ? mx::float32 : mx::uint32; }
size_t packed_filter_bytes(int L, int H, mx::Dtype dtype) { return packed_size(L, H, dtype) * mx::size_of(packed_filter_dtype(dtype)); }

mx::array pack_filters(const MixerFilters& f, mx::Dtype dtype, mx::Stream s) {
  using In = FilterInput;
  NamedInputs<In> inputs;
  auto add = [&](In name, const std::optional<mx::array>& a) {
    if (a) inputs.add(name, float32_contiguous(*a, s));
  };
  add(In::k, f.k);
  add(In::D, f.D);
  add(In::k_rev, f.k_rev);
  add(In::k2, f.k2);
  add(In::D2, f.D2);
  add(In::k2_rev, f.k2_rev);
  return packed_by(std::make_shared<PackFilters>(s, inputs.positions), f.k.shape(0), f.k.shape(1), dtype, inputs.arrays);
}

mx::array pack_filters(const FilterNetworks& f, mx::Dtype dtype, mx::Stream s) {
  const int L = f.times.shape(0), H = f.deltas.shape(0);
  NamedInputs<NetworkInput> inputs;
  add_networks(inputs, f, s);
  return packed_by(std::make_shared<PackNetworks>(s, inputs.positions, L, H), L, H, dtype, inputs.arrays);
}

void add_networks(NamedInputs<NetworkInput>& inputs, const FilterNetworks& f, mx::Stream s) {
  using In = NetworkInput;
  auto add = [&](In name, const std::optional<mx::array>& a) {
    if (a) inputs.add(name, float32_contiguous(*a, s));
  };
  auto add_network = [&](In features, In weight, const std::optional<FilterNetwork>& network) {
    if (!network) return;
    add(features, network->features);
    add(weight, network->weight);
  };
  add(In::times, f.times);
  add(In::deltas, f.deltas);
  add(In::D, f.D);
  add_network(In::features, In::weight, f.k);
  add_network(In::rev_features, In::rev_weight, f.k_rev);
  add(In::times2, f.times2);
  add(In::deltas2, f.deltas2);
  add(In::D2, f.D2);
  add_network(In::features2, In::weight2, f.k2);
  add_network(In::rev_features2, In::rev_weight2, f.k2_rev);
}

HostFilterNetworks host_networks(const Positions<NetworkInput>& positions, const std::vector<mx::array>& arrays) {
  using In = NetworkInput;
  auto at = [&](In name) { return positions.data<float>(arrays, name); };
  HostFilterNetworks f{};
  f.order = arrays[positions.of(In::features)].shape(1);
  f.k = {at(In::features), at(In::weight)};
  f.k_rev = {at(In::rev_features), at(In::rev_weight)};
  f.k2 = {at(In::features2), at(In::weight2)};
  f.k2_rev = {at(In::rev_features2), at(In::rev_weight2)};
  f.times = at(In::times), f.times2 = at(In::times2);
  f.deltas = at(In::deltas), f.deltas2 = at(In::deltas2);
  f.D = at(In::D), f.D2 = at(In::D2);
  return f;
}

}  // namespace m2bert::ops::cpu
