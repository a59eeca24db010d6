#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/mixer_sequences.h"
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

// The inputs of the kernel. The packed filters lie one after the other, as concat_packed has put them.
template <class T>
MonarchMixInputs<T> mix_inputs(const Positions<In>& at, const std::vector<mx::array>& in, const MixerSequences& m) {
  MonarchMixInputs<T> inputs{at.data<T>(in, In::projected),
                             at.data<T>(in, In::u),
                             at.data<T>(in, In::dy),
                             at.data<float>(in, In::short_weight),
                             at.data<float>(in, In::short_bias),
                             m.sequences,
                             {},
                             in[at.of(In::D)].shape(0)};
  const float* packed = at.data<float>(in, In::packed);
  for (int rows : m.filter_rows) {
    inputs.filters.push_back(packed);
    packed += packed_filter_size<float>(inputs.H, rows);
  }
  return inputs;
}

// Outputs: a gradient for each of `outputs`.
class MonarchMixGradient : public FloatPrimitive<MonarchMixGradient> {
 public:
  MonarchMixGradient(mx::Stream s, const Positions<In>& inputs, const Positions<In>& outputs, const MixerSequences& sequences)
      : FloatPrimitive(s, "monarch_mix"), inputs_(inputs), outputs_(outputs), sequences_(sequences) {}
  const char* name() const override { return "MonarchMixGradient"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const MonarchMixGradient&>(other);
    return o.inputs_ == inputs_ && o.outputs_ == outputs_ && o.sequences_ == sequences_;
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
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
    return
        [inputs = mix_inputs<T>(inputs_, in, sequences_), to, filter_rows = sequences_.filter_rows,
         filter_length = out[outputs_.of(In::k)].shape(0)] { monarch_mix_backward<T>(inputs, filter_rows, filter_length, to, threads()); };
  }

 private:
  Positions<In> inputs_, outputs_;
  MixerSequences sequences_;
};

class MonarchMix : public FloatPrimitive<MonarchMix> {
 public:
  MonarchMix(mx::Stream s, const Positions<In>& inputs, MixerSequences sequences)
      : FloatPrimitive(s, "monarch_mix"), inputs_(inputs), sequences_(std::move(sequences)) {}
  const char* name() const override { return "MonarchMix"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const MonarchMix&>(other);
    return o.inputs_ == inputs_ && o.sequences_ == sequences_;
  }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>& argnums,
                             const std::vector<mx::array>&) override {
    NamedInputs<In> inputs, differentiable;
    for (size_t i = 0; i < in.size(); ++i) {
      const In name = inputs_.name_at(i);
      // The gradient reads only the packed filters, and H from D.
      const bool is_filter = name != In::packed && name != In::D && size_t(name) > size_t(In::u);
      if (!is_filter) inputs.add(name, in[i]);
      if (name != In::packed) differentiable.add(name, in[i]);
    }
    inputs.add(In::dy, contiguous(cotangents[0], stream()));
    auto gradient = std::make_shared<MonarchMixGradient>(stream(), inputs.positions, differentiable.positions, sequences_);
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
    return [inputs = mix_inputs<T>(inputs_, in, sequences_), y = out[0].data<T>()] { monarch_mix_forward<T>(inputs, y, threads()); };
  }

 private:
  Positions<In> inputs_;
  MixerSequences sequences_;
};

// The filters' first rows, without a gradient.
MixerFilters first_rows(const MixerFilters& f, int rows, mx::Stream s) {
  auto stop = [s](const std::optional<mx::array>& a) { return a ? std::optional(mx::stop_gradient(*a, s)) : std::nullopt; };
  auto cut = [&](const std::optional<mx::array>& k) { return k ? stop(mx::slice(*k, {0, 0}, {rows, k->shape(1)}, s)) : std::nullopt; };
  return {*cut(f.k), *stop(f.D), cut(f.k_rev), cut(f.k2), stop(f.D2), cut(f.k2_rev)};
}

// The packed filters of each of these lengths, one after the other.
mx::array concat_packed(const MixerFilters& f, const std::vector<int>& filter_rows, mx::Stream s) {
  std::vector<mx::array> parts;
  for (int rows : filter_rows) parts.push_back(pack_filters(first_rows(f, rows, s), mx::float32, s));
  return parts.size() == 1 ? parts[0] : mx::concatenate(parts, 0, s);
}

Backend::Array mix(const mx::array& projected, const mx::array& u, MixerSequences sequences, const mx::array& short_weight,
                   const mx::array& short_bias, const MixerFilters& f, mx::Stream s) {
  constexpr int kTaps = 3;
  if (!supports_rows(projected) || u.shape(-1) % kChannelBlock != 0 || short_weight.shape(2) != kTaps) return {};
  NamedInputs<In> inputs;
  auto add_floats = [&](In name, const std::optional<mx::array>& a) {
    if (a) inputs.add(name, float32_contiguous(*a, s));
  };
  inputs.add(In::projected, contiguous(projected, s));
  add_floats(In::short_weight, short_weight);
  add_floats(In::short_bias, short_bias);
  inputs.add(In::packed, concat_packed(f, sequences.filter_rows, s));
  if (f.k2) inputs.add(In::u, contiguous(mx::astype(u, projected.dtype(), s), s));
  add_floats(In::k, f.k);
  add_floats(In::D, mx::reshape(f.D, {-1}, s));
  add_floats(In::k_rev, f.k_rev);
  add_floats(In::k2, f.k2);
  add_floats(In::D2, f.D2);
  add_floats(In::k2_rev, f.k2_rev);
  return mx::array(u.shape(), projected.dtype(), std::make_shared<MonarchMix>(s, inputs.positions, std::move(sequences)),
                   std::move(inputs.arrays));
}

}  // namespace
}  // namespace cpu

Backend::Array CpuBackend::monarch_mix(const mx::array& projected, const mx::array& u, const mx::array& short_weight,
                                       const mx::array& short_bias, const MixerFilters& f, mx::Stream s) const {
  return cpu::mix(projected, u, cpu::padded_sequences(u.shape(0), u.shape(1)), short_weight, short_bias, f, s);
}

Backend::Array CpuBackend::monarch_mix_varlen(const mx::array& projected, const mx::array& u, const CuSeqlens& cu_seqlens,
                                              const mx::array& short_weight, const mx::array& short_bias, const MixerFilters& f,
                                              mx::Stream s) const {
  return cpu::mix(projected, u, cpu::varlen_sequences(cu_seqlens, f.k.shape(0)), short_weight, short_bias, f, s);
}

}  // namespace m2bert::ops
