#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/named_inputs.h"
#include "m2bert/ops/backend/cpu/packed_filters.h"
#include "m2bert/ops/backend/cpu/simd/monarch_mix_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

// u, k_rev, k2, D2 and k2_rev are optional; only the gradient has dy. The kernel reads `packed`; the filters from which it was packed are
// inputs so that they get a gradient.
enum class MixInput { projected, short_weight, short_bias, packed, u, k, D, k_rev, k2, D2, k2_rev, dy };
using In = MixInput;

// Outputs: a gradient for each of `outputs`.
class MonarchMixGradient : public FloatPrimitive<MonarchMixGradient> {
 public:
  MonarchMixGradient(mx::Stream s, const Positions<In>& inputs, const Positions<In>& outputs)
      : FloatPrimitive(s, "monarch_mix"), inputs_(inputs), outputs_(outputs) {}
  const char* name() const override { return "MonarchMixGradient"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const MonarchMixGradient&>(other);
    return o.inputs_ == inputs_ && o.outputs_ == outputs_;
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    const auto& dy = in[inputs_.of(In::dy)];
    const MonarchMixInputs<T> inputs{inputs_.data<T>(in, In::projected),
                                     inputs_.data<T>(in, In::u),
                                     dy.data<T>(),
                                     inputs_.data<float>(in, In::short_weight),
                                     inputs_.data<float>(in, In::short_bias),
                                     dy.shape(0),
                                     dy.shape(1),
                                     dy.shape(2)};
    auto gradient = [&](In name) { return outputs_.data<float>(out, name); };
    MonarchMixGradients<T> to{};
    to.projected = outputs_.data<T>(out, In::projected);
    to.u = outputs_.data<T>(out, In::u);
    to.short_weight = gradient(In::short_weight);
    to.short_bias = gradient(In::short_bias);
    to.k = gradient(In::k);
    to.D = gradient(In::D);
    to.k_rev = gradient(In::k_rev);
    to.k2 = gradient(In::k2);
    to.D2 = gradient(In::D2);
    to.k2_rev = gradient(In::k2_rev);
    return [inputs, to, packed = inputs_.data<float>(in, In::packed)] { monarch_mix_backward<T>(inputs, packed, to, threads()); };
  }

 private:
  Positions<In> inputs_, outputs_;
};

class MonarchMix : public FloatPrimitive<MonarchMix> {
 public:
  MonarchMix(mx::Stream s, const Positions<In>& inputs) : FloatPrimitive(s, "monarch_mix"), inputs_(inputs) {}
  const char* name() const override { return "MonarchMix"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const MonarchMix&>(other).inputs_ == inputs_; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>& argnums,
                             const std::vector<mx::array>&) override {
    NamedInputs<In> inputs, differentiable;
    for (size_t i = 0; i < in.size(); ++i) {
      const In name = inputs_.name_at(i);
      const bool is_filter = name != In::packed && size_t(name) > size_t(In::u);  // the gradient reads only the packed ones
      if (!is_filter) inputs.add(name, in[i]);
      if (name != In::packed) differentiable.add(name, in[i]);
    }
    inputs.add(In::dy, contiguous(cotangents[0], stream()));
    auto gradient = std::make_shared<MonarchMixGradient>(stream(), inputs.positions, differentiable.positions);
    const auto all = arrays_like(differentiable.arrays, std::move(gradient), inputs.arrays);
    std::vector<mx::array> wanted;
    for (int argument : argnums) {
      const In name = inputs_.name_at(size_t(argument));
      wanted.push_back(name == In::packed ? mx::zeros_like(in[size_t(argument)], stream()) : all[differentiable.positions.of(name)]);
    }
    return wanted;
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    auto floats = [&](In name) { return inputs_.data<float>(in, name); };
    return [projected = inputs_.data<T>(in, In::projected), u = inputs_.data<T>(in, In::u), weight = floats(In::short_weight),
            bias = floats(In::short_bias), packed = floats(In::packed), B = out[0].shape(0), L = out[0].shape(1), H = out[0].shape(2),
            y = out[0].data<T>()] { monarch_mix_forward<T>(projected, u, weight, bias, packed, B, L, H, y, threads()); };
  }

 private:
  Positions<In> inputs_;
};

MixerFilters stop_gradient(const MixerFilters& f, mx::Stream s) {
  auto stop = [s](const std::optional<mx::array>& a) { return a ? std::optional(mx::stop_gradient(*a, s)) : std::nullopt; };
  return {*stop(f.k), *stop(f.D), stop(f.k_rev), stop(f.k2), stop(f.D2), stop(f.k2_rev)};
}

}  // namespace
}  // namespace cpu

Backend::Array CpuBackend::monarch_mix(const mx::array& projected, const mx::array& u, const mx::array& short_weight,
                                       const mx::array& short_bias, const MixerFilters& f, mx::Stream s) const {
  using cpu::In;
  constexpr int kTaps = 3;
  if (!cpu::supports_rows(projected) || u.shape(2) % cpu::kChannelBlock != 0 || short_weight.shape(2) != kTaps) return {};
  cpu::NamedInputs<In> inputs;
  auto add_floats = [&](In name, const std::optional<mx::array>& a) {
    if (a) inputs.add(name, cpu::float32_contiguous(*a, s));
  };
  inputs.add(In::projected, cpu::contiguous(projected, s));
  add_floats(In::short_weight, short_weight);
  add_floats(In::short_bias, short_bias);
  inputs.add(In::packed, cpu::pack_filters(cpu::stop_gradient(f, s), mx::float32, s));
  if (f.k2) inputs.add(In::u, cpu::contiguous(mx::astype(u, projected.dtype(), s), s));
  add_floats(In::k, f.k);
  add_floats(In::D, f.D);
  add_floats(In::k_rev, f.k_rev);
  add_floats(In::k2, f.k2);
  add_floats(In::D2, f.D2);
  add_floats(In::k2_rev, f.k2_rev);
  return mx::array(u.shape(), projected.dtype(), std::make_shared<cpu::MonarchMix>(s, inputs.positions), std::move(inputs.arrays));
}

}  // namespace m2bert::ops
