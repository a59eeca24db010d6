#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/filter_network_primitive.h"
#include "m2bert/ops/backend/backend.h"

#ifdef M2BERT_CPU_KERNELS
#include "m2bert/ops/backend/cpu/simd/filter_network_simd.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/packed_filters.h"
#include "m2bert/ops/backend/cpu/simd/profile_scope.h"
#include "m2bert/threads.h"

namespace m2bert::ops::cpu {

namespace {

SineLayer sine_layer(const std::vector<mx::array>& in) {
  return {in[0].data<float>(), in[1].data<float>(), in[2].data<float>(), in[3].data<float>(),
          in[0].shape(0),      in[0].shape(1),      in[1].shape(0)};
}

// Inputs: x, weight, bias, freq, dy. Outputs: the gradients of the first four.
class SineLinearGradient : public FloatKernel<SineLinearGradient> {
 public:
  explicit SineLinearGradient(mx::Stream s) : FloatKernel(s, "sine_linear") {}
  const char* name() const override { return "SineLinearGradient"; }
  bool is_equivalent(const Primitive&) const override { return true; }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [layer = sine_layer(in), dy = in[4].data<float>(),
            to = SineGradients{out[0].data<float>(), out[1].data<float>(), out[2].data<float>(), out[3].data<float>()}] {
      sine_linear_backward(layer, dy, to, threads());
    };
  }
};

// Inputs: x, weight, bias, freq.
class SineLinear : public FloatKernel<SineLinear> {
 public:
  static constexpr bool kInPlace = true;
  explicit SineLinear(mx::Stream s) : FloatKernel(s, "sine_linear") {}
  const char* name() const override { return "SineLinear"; }
  bool is_equivalent(const Primitive&) const override { return true; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>& argnums,
                             const std::vector<mx::array>&) override {
    auto inputs = in;
    inputs.push_back(mx::contiguous(cotangents[0], false, stream()));
    const auto all = arrays_like(in, std::make_shared<SineLinearGradient>(stream()), inputs);
    std::vector<mx::array> wanted;
    for (int argument : argnums) wanted.push_back(all[size_t(argument)]);
    return wanted;
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [layer = sine_layer(in), y = out[0].data<float>()] { sine_linear_forward(layer, y, threads()); };
  }
};

// Inputs: x, times, deltas. The gradient by x is the same with dy in x's place.
class ExponentialDecay : public FloatKernel<ExponentialDecay> {
 public:
  explicit ExponentialDecay(mx::Stream s) : FloatKernel(s, "exponential_decay") {}
  const char* name() const override { return "ExponentialDecay"; }
  bool is_equivalent(const Primitive&) const override { return true; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>&,
                             const std::vector<mx::array>&) override {
    return {cpu::exponential_decay(cotangents[0], in[1], in[2], stream())};
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [x = in[0].data<float>(), times = in[1].data<float>(), deltas = in[2].data<float>(), y = out[0].data<float>(),
            rows = in[0].shape(0), columns = in[0].shape(1)] { exponential_decay_rows(x, times, deltas, rows, columns, y, threads()); };
  }
};

// Inputs: those of NetworkInputs.
class PrepareNetworks : public FloatKernel<PrepareNetworks> {
 public:
  PrepareNetworks(mx::Stream s, NetworkInputs networks, int L, int H)
      : FloatKernel(s, "pack_filters"), networks_(networks), L_(L), H_(H) {}
  const char* name() const override { return "PrepareNetworks"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const PrepareNetworks&>(other);
    return o.networks_ == networks_ && o.L_ == L_ && o.H_ == H_;
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [networks = networks_.host(in, 0), L = L_, H = H_, prepared = FilterMemory(out[0])] {
      const ProfileScope timed(ProfileStage::filters);
      prepared.visit([&](auto* values) { pack_filter_spectra(networks, L, H, values, threads()); });
    };
  }

 private:
  NetworkInputs networks_;
  int L_, H_;
};

}  // namespace

mx::array sine_linear(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq, mx::Stream s) {
  return mx::array({x.shape(0), weight.shape(0)}, mx::float32, std::make_shared<SineLinear>(s),
                   {plain_float(x, s), plain_float(weight, s), plain_float(bias, s), plain_float(freq, s)});
}

mx::array exponential_decay(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::Stream s) {
  return mx::array(x.shape(), mx::float32, std::make_shared<ExponentialDecay>(s),
                   {plain_float(x, s), plain_float(times, s), plain_float(deltas, s)});
}

void check_networks(const char* op, const FilterNetworks& f, int L, int H) {
  const int order = f.k.features.ndim() == 2 ? f.k.features.shape(1) : 0;
  auto wants = [&](const char* name, const mx::array& x, const mx::Shape& shape) {
    require(x.shape() == shape, "[", op, "] ", name, " of the filters has shape ", x.shape(), ", wants ", shape);
  };
  auto network = [&](const FilterNetwork& n) {
    wants("features", n.features, {L, order});
    wants("weight", n.weight, {H, order});
  };
  network(f.k);
  for (const auto* n : {&f.k_rev, &f.k2, &f.k2_rev}) {
    if (*n) network(**n);
  }
  wants("times", f.times, {L});
  wants("deltas", f.deltas, {H});
  wants("D", f.D, {H});
  auto with_k2 = [&](const auto& part) { return part.has_value() == f.k2.has_value(); };
  const bool whole = with_k2(f.times2) && with_k2(f.deltas2) && with_k2(f.D2) && f.k2_rev.has_value() == (f.k2 && f.k_rev);
  require(whole, "[", op, "] parts of a filter are missing");
  if (f.times2) wants("times2", *f.times2, {L});
  if (f.deltas2) wants("deltas2", *f.deltas2, {H});
  if (f.D2) wants("D2", *f.D2, {H});
}

NetworkInputs::NetworkInputs(const FilterNetworks& f) : reverse_(f.k_rev.has_value()), residual_(f.k2.has_value()) {}

std::vector<mx::array> NetworkInputs::arrays(const FilterNetworks& f, mx::Stream s) const {
  std::vector<mx::array> all;
  auto add = [&](std::initializer_list<mx::array> arrays) {
    for (const auto& a : arrays) all.push_back(plain_float(a, s));
  };
  add({f.times, f.deltas, f.D, f.k.features, f.k.weight});
  if (reverse_) add({f.k_rev->features, f.k_rev->weight});
  if (!residual_) return all;
  add({*f.times2, *f.deltas2, *f.D2, f.k2->features, f.k2->weight});
  if (reverse_) add({f.k2_rev->features, f.k2_rev->weight});
  return all;
}

HostFilterNetworks NetworkInputs::host(const std::vector<mx::array>& in, size_t first) const {
  size_t next = first;
  auto take = [&] { return in[next++].data<float>(); };
  auto network = [&] {
    const float* features = take();
    return HostFilterNetwork{features, take()};
  };
  HostFilterNetworks f{};
  f.times = take();
  f.deltas = take();
  f.D = take();
  f.order = in[next].shape(1);
  f.k = network();
  if (reverse_) f.k_rev = network();
  if (!residual_) return f;
  f.times2 = take();
  f.deltas2 = take();
  f.D2 = take();
  f.k2 = network();
  if (reverse_) f.k2_rev = network();
  return f;
}

mx::array pack_filters(const FilterNetworks& f, mx::Dtype dtype, mx::Stream s) {
  const int L = f.times.shape(0), H = f.deltas.shape(0);
  const NetworkInputs networks(f);
  return prepared_by(std::make_shared<PrepareNetworks>(s, networks, L, H), L, H, dtype, networks.arrays(f, s));
}

}  // namespace m2bert::ops::cpu

#else

namespace m2bert::ops::cpu {

mx::array sine_linear(const mx::array&, const mx::array&, const mx::array&, const mx::array&, mx::Stream) {
  fail("[sine_linear] this build has no CPU kernels");
}
mx::array exponential_decay(const mx::array&, const mx::array&, const mx::array&, mx::Stream) {
  fail("[exponential_decay] this build has no CPU kernels");
}
void check_networks(const char*, const FilterNetworks&, int, int) {}
mx::array pack_filters(const FilterNetworks&, mx::Dtype, mx::Stream) { fail("[pack_filters] this build has no CPU kernels"); }

}  // namespace m2bert::ops::cpu
#endif
