#include "m2bert/error.h"
#include "m2bert/ops/kernels/kernel.h"
#include "m2bert/ops/kernels/mixer.h"

#ifdef M2BERT_CPU_KERNELS
#include <mlx/primitives.h>

#include "m2bert/ops/kernels/encode.h"
#include "m2bert/ops/kernels/mixer_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops::kernels {

namespace {

mx::array plain(const mx::array& a, mx::Stream s) { return mx::contiguous(mx::astype(a, mx::float32, s), false, s); }

// k, D, (k_rev), (k2, D2), (k2_rev)
std::vector<mx::array> filter_arrays(const MixerFilters& f, mx::Stream s) {
  std::vector<mx::array> arrays{plain(f.k, s), plain(f.D, s)};
  if (f.k_rev) arrays.push_back(plain(*f.k_rev, s));
  if (f.k2) {
    arrays.push_back(plain(*f.k2, s));
    arrays.push_back(plain(*f.D2, s));
    if (f.k_rev) arrays.push_back(plain(*f.k2_rev, s));
  }
  return arrays;
}

// k and D, then in this order what is there: k_rev, k2 and D2, k2_rev.
class PrepareMixer : public mx::UnaryPrimitive {
 public:
  PrepareMixer(mx::Stream s, bool reverse, bool residual) : UnaryPrimitive(s), reverse_(reverse), residual_(residual) {}
  const char* name() const override { return "PrepareMixer"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const PrepareMixer&>(other);
    return o.reverse_ == reverse_ && o.residual_ == residual_;
  }
  void eval_gpu(const std::vector<mx::array>&, mx::array&) override { fail("[monarch_mix] the kernel runs on the CPU alone"); }
  void eval_cpu(const std::vector<mx::array>& in, mx::array& out) override {
    auto& encoder = encode(stream(), in, out);
    size_t next = 2;
    auto take = [&](bool there) -> const float* { return there ? in[next++].data<float>() : nullptr; };
    const float* k_rev = take(reverse_);
    const float* k2 = take(residual_);
    const float* D2 = take(residual_);
    const float* k2_rev = take(residual_ && reverse_);
    encoder.dispatch([k = in[0].data<float>(), D = in[1].data<float>(), k_rev, k2, D2, k2_rev, L = in[0].shape(0), H = in[0].shape(1),
                      prepared = out.data<float>()] {
      enter_pool();
      mixer_prepare(k, k_rev, D, k2, k2_rev, D2, L, H, prepared, threads());
    });
  }

 private:
  bool reverse_, residual_;
};

// Which filters a mixer has.
struct Parts {
  bool reverse, residual;
  bool operator==(const Parts&) const = default;
};

template <class T>
T* data_or_null(const std::vector<mx::array>& arrays, size_t& next, bool there) {
  return there ? const_cast<T*>(arrays[next++].data<T>()) : nullptr;
}

[[noreturn]] void no_gpu() { fail("[monarch_mix] the kernel runs on the CPU alone"); }

// Inputs: projected, short_weight, short_bias, prepared, dy; u where there is a residual convolution.
// Outputs: the gradients of projected, short_weight, short_bias, (u), k, D, (k_rev), (k2, D2), (k2_rev).
class MixGradient : public mx::Primitive {
 public:
  MixGradient(mx::Stream s, Parts parts) : Primitive(s), parts_(parts) {}
  const char* name() const override { return "MonarchMixGradient"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const MixGradient&>(other).parts_ == parts_; }
  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override { no_gpu(); }
  void eval_cpu(const std::vector<mx::array>& in, std::vector<mx::array>& out) override {
    auto& encoder = encode(stream(), in, out);
    if (in[0].dtype() == mx::float32) {
      dispatch<float>(encoder, in, out);
    } else {
      dispatch<uint16_t>(encoder, in, out);
    }
  }
  std::vector<mx::array> vjp(const std::vector<mx::array>&, const std::vector<mx::array>&, const std::vector<int>&,
                             const std::vector<mx::array>&) override {
    fail("[monarch_mix] has no second derivative; monarch_mix_reference has one");
  }

 private:
  template <class T>
  void dispatch(mx::cpu::CommandEncoder& encoder, const std::vector<mx::array>& in, const std::vector<mx::array>& out) const {
    const auto& dy = in[4];
    MixerInputs<T> inputs{in[0].data<T>(),     parts_.residual ? in[5].data<T>() : nullptr,
                          dy.data<T>(),        in[1].data<float>(),
                          in[2].data<float>(), dy.shape(0),
                          dy.shape(1),         dy.shape(2)};
    MixerGradients<T> to{};
    size_t next = 0;
    to.projected = data_or_null<T>(out, next, true);
    to.short_weight = data_or_null<float>(out, next, true);
    to.short_bias = data_or_null<float>(out, next, true);
    to.u = data_or_null<T>(out, next, parts_.residual);
    to.k = data_or_null<float>(out, next, true);
    to.D = data_or_null<float>(out, next, true);
    to.k_rev = data_or_null<float>(out, next, parts_.reverse);
    to.k2 = data_or_null<float>(out, next, parts_.residual);
    to.D2 = data_or_null<float>(out, next, parts_.residual);
    to.k2_rev = data_or_null<float>(out, next, parts_.residual && parts_.reverse);
    encoder.dispatch([inputs, to, prepared = in[3].data<float>()] {
      enter_pool();
      mixer_backward<T>(inputs, prepared, to, threads());
    });
  }

  Parts parts_;
};

// Inputs: projected, short_weight, short_bias, prepared; u where there is a residual convolution; then, to be differentiated by them, the
// filters that `prepared` was made from: k, D, (k_rev), (k2, D2), (k2_rev), or nothing.
class Mix : public mx::UnaryPrimitive {
 public:
  Mix(mx::Stream s, Parts parts) : UnaryPrimitive(s), parts_(parts) {}
  const char* name() const override { return "MonarchMix"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const Mix&>(other).parts_ == parts_; }
  void eval_gpu(const std::vector<mx::array>&, mx::array&) override { no_gpu(); }
  void eval_cpu(const std::vector<mx::array>& in, mx::array& out) override {
    auto& encoder = encode(stream(), in, out);
    if (out.dtype() == mx::float32) {
      dispatch<float>(encoder, in, out);
    } else {
      dispatch<uint16_t>(encoder, in, out);
    }
  }

  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>& argnums,
                             const std::vector<mx::array>&) override {
    const size_t filters = parts_.residual ? 5 : 4;
    require(in.size() > filters, "[monarch_mix] has no gradient from prepared filters; give the filters themselves");
    std::vector<mx::array> inputs{in[0], in[1], in[2], in[3], mx::contiguous(cotangents[0], false, stream())};
    if (parts_.residual) inputs.push_back(in[4]);
    std::vector<int> outputs;  // of MixGradient, the input each belongs to
    for (int i = 0; i < int(in.size()); ++i) {
      if (i != 3) outputs.push_back(i);
    }
    std::vector<mx::Shape> shapes;
    std::vector<mx::Dtype> dtypes;
    for (int i : outputs) {
      shapes.push_back(in[size_t(i)].shape());
      dtypes.push_back(in[size_t(i)].dtype());
    }
    const auto all = mx::array::make_arrays(std::move(shapes), dtypes, std::make_shared<MixGradient>(stream(), parts_), inputs);
    std::vector<mx::array> wanted;
    for (int argument : argnums)
      wanted.push_back(argument == 3 ? mx::zeros_like(in[3], stream()) : all[size_t(argument < 3 ? argument : argument - 1)]);
    return wanted;
  }

 private:
  template <class T>
  void dispatch(mx::cpu::CommandEncoder& encoder, const std::vector<mx::array>& in, mx::array& out) const {
    encoder.dispatch([projected = in[0].data<T>(), weight = in[1].data<float>(), bias = in[2].data<float>(), prepared = in[3].data<float>(),
                      u = parts_.residual ? in[4].data<T>() : nullptr, B = out.shape(0), L = out.shape(1), H = out.shape(2),
                      y = out.data<T>()] {
      enter_pool();
      mixer_forward<T>(projected, u, weight, bias, prepared, B, L, H, y, threads());
    });
  }

  Parts parts_;
};

// What Mix is given, without the filters.
std::vector<mx::array> mix_inputs(const mx::array& projected, const std::optional<mx::array>& u, const mx::array& short_weight,
                                  const mx::array& short_bias, const mx::array& prepared, mx::Stream s) {
  require(prepared.size() == mixer_prepared_size(projected.shape(2) / 3, projected.shape(1)),
          "[monarch_mix] the prepared filters are for another length or width");
  std::vector<mx::array> inputs{mx::contiguous(projected, false, s), plain(short_weight, s), plain(short_bias, s), prepared};
  if (u) inputs.push_back(mx::contiguous(mx::astype(*u, projected.dtype(), s), false, s));
  return inputs;
}

mx::array make_mix(const mx::array& projected, Parts parts, std::vector<mx::array> inputs, mx::Stream s) {
  return mx::array({projected.shape(0), projected.shape(1), projected.shape(2) / 3}, projected.dtype(), std::make_shared<Mix>(s, parts),
                   std::move(inputs));
}

}  // namespace

bool mixer_takes(int H, mx::Dtype dtype, mx::StreamOrDevice s) {
  return cpu_kernels(s) && H % kChannelBlock == 0 && (dtype == mx::float32 || dtype == mx::bfloat16);
}

mx::array prepare_mixer(const MixerFilters& f, mx::Stream s) {
  const size_t size = mixer_prepared_size(f.k.shape(1), f.k.shape(0));
  return mx::array({int(size / (4 * kChannelBlock)), 4 * kChannelBlock}, mx::float32,
                   std::make_shared<PrepareMixer>(s, f.k_rev.has_value(), f.k2.has_value()), filter_arrays(f, s));
}

mx::array mix(const mx::array& projected, const std::optional<mx::array>& u, const mx::array& short_weight, const mx::array& short_bias,
              const mx::array& prepared, mx::Stream s) {
  return make_mix(projected, {false, u.has_value()}, mix_inputs(projected, u, short_weight, short_bias, prepared, s), s);
}

mx::array mix_from_filters(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                           const MixerFilters& f, mx::Stream s) {
  auto still = [&](const std::optional<mx::array>& k) { return k ? std::optional(mx::stop_gradient(*k, s)) : std::nullopt; };
  const auto prepared = prepare_mixer({*still(f.k), *still(f.D), still(f.k_rev), still(f.k2), still(f.D2), still(f.k2_rev)}, s);
  auto inputs = mix_inputs(projected, f.k2 ? std::optional(u) : std::nullopt, short_weight, short_bias, prepared, s);
  for (auto& k : filter_arrays(f, s)) inputs.push_back(k);
  return make_mix(projected, {f.k_rev.has_value(), f.k2.has_value()}, std::move(inputs), s);
}

}  // namespace m2bert::ops::kernels

#else

namespace m2bert::ops::kernels {

bool mixer_takes(int, mx::Dtype, mx::StreamOrDevice) { return false; }
mx::array prepare_mixer(const MixerFilters&, mx::Stream) { fail("[monarch_mix] this build has no CPU kernels"); }
mx::array mix(const mx::array&, const std::optional<mx::array>&, const mx::array&, const mx::array&, const mx::array&, mx::Stream) {
  fail("[monarch_mix] this build has no CPU kernels");
}
mx::array mix_from_filters(const mx::array&, const mx::array&, const mx::array&, const mx::array&, const MixerFilters&, mx::Stream) {
  fail("[monarch_mix] this build has no CPU kernels");
}

}  // namespace m2bert::ops::kernels
#endif
