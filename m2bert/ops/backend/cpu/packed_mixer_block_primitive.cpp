#include "m2bert/ops/backend/cpu/packed_mixer_block_primitive.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"

#ifdef M2BERT_CPU_KERNELS
#include "m2bert/ops/backend/cpu/filter_network_primitive.h"
#include "m2bert/ops/backend/cpu/host_arrays.h"
#include "m2bert/ops/backend/cpu/simd/packed_mixer_block_host.h"
#include "m2bert/ops/backend/cpu/packed_filters.h"
#include "m2bert/threads.h"

namespace m2bert::ops::cpu {

namespace {

// Inputs: u; then the prepared filters, or those of NetworkInputs.
class MixerPrimitive : public FloatKernel<MixerPrimitive> {
 public:
  MixerPrimitive(mx::Stream s, PackedMixerBlock prepared, std::optional<NetworkInputs> networks)
      : FloatKernel(s, "mixer_block"), prepared_(std::move(prepared)), networks_(networks) {}
  const char* name() const override { return "MonarchMixer"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const MixerPrimitive&>(other);
    return o.prepared_ == prepared_ && o.networks_ == networks_;
  }
  static constexpr bool kInPlace = true;

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    const auto networks = networks_ ? std::optional(networks_->host(in, 1)) : std::nullopt;
    return [prepared = prepared_, networks, table = in[1].data<FilterValue<T>>(), u = in[0].data<T>(), y = out[0].data<T>(),
            B = in[0].shape(0), L = in[0].shape(1)] {
      prepared->run(u, B, L, networks ? FilterSource<T>{nullptr, &*networks} : FilterSource<T>{table, nullptr}, y, threads());
    };
  }

 private:
  PackedMixerBlock prepared_;
  std::optional<NetworkInputs> networks_;
};

mx::array make(const mx::array& u, const PackedMixerBlock& prepared, std::optional<NetworkInputs> networks, std::vector<mx::array> inputs,
               mx::Stream s) {
  inputs.insert(inputs.begin(), mx::contiguous(u, false, s));
  return mx::array(u.shape(), u.dtype(), std::make_shared<MixerPrimitive>(s, prepared, networks), std::move(inputs));
}

void check(const mx::array& u, const PackedMixerBlock& prepared) {
  require(prepared != nullptr, "[mixer_block] the weights are not prepared");
  require(u.ndim() == 3 && u.shape(2) == prepared->width(), "[mixer_block] u has shape ", u.shape(), ", the weights want [B, L, ",
          prepared->width(), "]");
  require(supports_input(prepared->dtype(), u.dtype()), "[mixer_block] u is ", u.dtype(), ", the weights want another dtype");
}

}  // namespace

size_t packed_filter_bytes(int L, int H, mx::Dtype dtype) { return filter_values(L, H, dtype) * mx::size_of(filter_dtype(dtype)); }

PackedMixerBlock pack_mixer_block(const MixerWeights& w, bool residual, mx::Stream s) {
  const auto dtype = host_dtype_of(w.in_weight);
  if (!dtype || host_dtype_of(w.out_weight) != dtype || w.short_weight.ndim() != 3 || w.short_weight.shape(2) != 3) return nullptr;
  HostArrays host(s);
  const PackedMixerBlockSource source{*dtype,
                                  host.weight(w.in_weight),
                                  host.weight(w.out_weight),
                                  host.floats(w.in_bias),
                                  host.floats(w.out_bias),
                                  host.floats(w.short_weight),
                                  host.floats(w.short_bias),
                                  residual};
  if (!packed_mixer_block_supports(source.in, source.out)) return nullptr;
  require(w.short_weight.shape(0) == source.in.q && w.short_bias.size() == size_t(source.in.q), "[pack_mixer_block] short_weight has shape ",
          w.short_weight.shape(), ", in_weight ", w.in_weight.values.shape());
  return std::make_shared<const PackedMixerBlockHost>(source);
}

mx::array mixer_block(const mx::array& u, const PackedMixerBlock& prepared, const mx::array& filters, mx::Stream s) {
  check(u, prepared);
  if (u.size() == 0) return u;
  require(filters.dtype() == filter_dtype(u.dtype()) && filters.nbytes() == packed_filter_bytes(u.shape(1), u.shape(2), u.dtype()),
          "[mixer_block] the prepared filters are for another length, width or dtype than u's, ", u.shape(), " ", u.dtype());
  return make(u, prepared, std::nullopt, {mx::contiguous(filters, false, s)}, s);
}

mx::array mixer_block(const mx::array& u, const PackedMixerBlock& prepared, const FilterNetworks& f, mx::Stream s) {
  check(u, prepared);
  if (u.size() == 0) return u;
  check_networks("mixer_block", f, u.shape(1), u.shape(2));
  require(f.k2.has_value() == prepared->residual(), "[mixer_block] the weights were prepared ", prepared->residual() ? "with" : "without",
          " a second convolution, the filters are not");
  const NetworkInputs networks(f);
  return make(u, prepared, networks, networks.arrays(f, s), s);
}

}  // namespace m2bert::ops::cpu

#else

namespace m2bert::ops::cpu {

size_t packed_filter_bytes(int, int, mx::Dtype) { return 0; }
PackedMixerBlock pack_mixer_block(const MixerWeights&, bool, mx::Stream) { return nullptr; }
mx::array mixer_block(const mx::array&, const PackedMixerBlock&, const mx::array&, mx::Stream) {
  fail("[mixer_block] this build has no CPU kernels");
}
mx::array mixer_block(const mx::array&, const PackedMixerBlock&, const FilterNetworks&, mx::Stream) {
  fail("[mixer_block] this build has no CPU kernels");
}

}  // namespace m2bert::ops::cpu
#endif
