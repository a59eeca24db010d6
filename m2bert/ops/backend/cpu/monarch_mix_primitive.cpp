#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/backend/cpu/monarch_mix_primitive.h"

#ifdef M2BERT_CPU_KERNELS
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/monarch_mix_simd.h"
#include "m2bert/ops/backend/cpu/packed_filters.h"
#include "m2bert/ops/backend/cpu/simd/profile_scope.h"
#include "m2bert/threads.h"

namespace m2bert::ops::cpu {

namespace {

// Which filters a mixer has.
struct Parts {
  bool reverse, residual;
  bool operator==(const Parts&) const = default;
};

// k, D, (k_rev), (k2, D2), (k2_rev)
std::vector<mx::array> filter_arrays(const MixerFilters& f, mx::Stream s) {
  std::vector<mx::array> arrays{plain_float(f.k, s), plain_float(f.D, s)};
  for (const auto* a : {&f.k_rev, &f.k2, &f.D2, &f.k2_rev}) {
    if (*a) arrays.push_back(plain_float(**a, s));
  }
  return arrays;
}

template <class T>
T* data_or_null(const std::vector<mx::array>& arrays, size_t& next, bool there) {
  return there ? const_cast<T*>(arrays[next++].data<T>()) : nullptr;
}

// Inputs: the filter_arrays.
class PrepareFilters : public FloatKernel<PrepareFilters> {
 public:
  PrepareFilters(mx::Stream s, Parts parts) : FloatKernel(s, "monarch_mix"), parts_(parts) {}
  const char* name() const override { return "PrepareFilters"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const PrepareFilters&>(other).parts_ == parts_; }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    size_t next = 0;
    auto take = [&](bool there) { return data_or_null<float>(in, next, there); };
    const float *k = take(true), *D = take(true), *k_rev = take(parts_.reverse), *k2 = take(parts_.residual), *D2 = take(parts_.residual);
    const float* k2_rev = take(parts_.residual && parts_.reverse);
    return [=, L = in[0].shape(0), H = in[0].shape(1), prepared = FilterMemory(out[0])] {
      const ProfileScope timed(ProfileStage::filters);
      prepared.visit([&](auto* values) { pack_filter_spectra(k, k_rev, D, k2, k2_rev, D2, L, H, values, threads()); });
    };
  }

 private:
  Parts parts_;
};

// Inputs: projected, short_weight, short_bias, prepared, dy; u where there is a residual convolution.
// Outputs: the gradients of projected, short_weight, short_bias, (u), k, D, (k_rev), (k2, D2), (k2_rev).
class MixGradient : public FloatKernel<MixGradient> {
 public:
  MixGradient(mx::Stream s, Parts parts) : FloatKernel(s, "monarch_mix"), parts_(parts) {}
  const char* name() const override { return "MonarchMixGradient"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const MixGradient&>(other).parts_ == parts_; }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    const auto& dy = in[4];
    MonarchMixInputs<T> inputs{in[0].data<T>(),     parts_.residual ? in[5].data<T>() : nullptr,
                          dy.data<T>(),        in[1].data<float>(),
                          in[2].data<float>(), dy.shape(0),
                          dy.shape(1),         dy.shape(2)};
    MonarchMixGradients<T> to{};
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
    return [inputs, to, prepared = in[3].data<float>()] { monarch_mix_backward<T>(inputs, prepared, to, threads()); };
  }

 private:
  Parts parts_;
};

// Inputs: projected, short_weight, short_bias, prepared; u where there is a residual convolution; then, to be differentiated by them, the
// filters that `prepared` was made from: k, D, (k_rev), (k2, D2), (k2_rev).
class Mix : public FloatKernel<Mix> {
 public:
  Mix(mx::Stream s, Parts parts) : FloatKernel(s, "monarch_mix"), parts_(parts) {}
  const char* name() const override { return "MonarchMix"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const Mix&>(other).parts_ == parts_; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>& argnums,
                             const std::vector<mx::array>&) override {
    std::vector<mx::array> inputs{in[0], in[1], in[2], in[3], mx::contiguous(cotangents[0], false, stream())};
    if (parts_.residual) inputs.push_back(in[4]);
    auto differentiated = in;
    differentiated.erase(differentiated.begin() + 3);  // all but `prepared`
    const auto all = arrays_like(differentiated, std::make_shared<MixGradient>(stream(), parts_), inputs);
    std::vector<mx::array> wanted;
    for (int argument : argnums)
      wanted.push_back(argument == 3 ? mx::zeros_like(in[3], stream()) : all[size_t(argument < 3 ? argument : argument - 1)]);
    return wanted;
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [projected = in[0].data<T>(), weight = in[1].data<float>(), bias = in[2].data<float>(), prepared = in[3].data<float>(),
            u = parts_.residual ? in[4].data<T>() : nullptr, B = out[0].shape(0), L = out[0].shape(1), H = out[0].shape(2),
            y = out[0].data<T>()] { monarch_mix_forward<T>(projected, u, weight, bias, prepared, B, L, H, y, threads()); };
  }

 private:
  Parts parts_;
};

}  // namespace

bool mixer_takes(int H, mx::Dtype dtype, mx::StreamOrDevice s) {
  return cpu_kernels(s) && H % kChannelBlock == 0 && float_kernel_takes(dtype);
}

mx::array pack_filters(const MixerFilters& f, mx::Dtype dtype, mx::Stream s) {
  return prepared_by(std::make_shared<PrepareFilters>(s, Parts{f.k_rev.has_value(), f.k2.has_value()}), f.k.shape(0), f.k.shape(1), dtype,
                     filter_arrays(f, s));
}

mx::array mix_from_filters(const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                           const MixerFilters& f, mx::Stream s) {
  auto still = [&](const std::optional<mx::array>& k) { return k ? std::optional(mx::stop_gradient(*k, s)) : std::nullopt; };
  const auto prepared =
      pack_filters({*still(f.k), *still(f.D), still(f.k_rev), still(f.k2), still(f.D2), still(f.k2_rev)}, mx::float32, s);
  std::vector<mx::array> inputs{mx::contiguous(projected, false, s), plain_float(short_weight, s), plain_float(short_bias, s), prepared};
  if (f.k2) inputs.push_back(mx::contiguous(mx::astype(u, projected.dtype(), s), false, s));
  for (auto& k : filter_arrays(f, s)) inputs.push_back(k);
  const Parts parts{f.k_rev.has_value(), f.k2.has_value()};
  return mx::array(u.shape(), projected.dtype(), std::make_shared<Mix>(s, parts), std::move(inputs));
}

}  // namespace m2bert::ops::cpu

#else

namespace m2bert::ops::cpu {

bool mixer_takes(int, mx::Dtype, mx::StreamOrDevice) { return false; }
mx::array pack_filters(const MixerFilters&, mx::Dtype, mx::Stream) { fail("[monarch_mix] this build has no CPU kernels"); }
mx::array mix_from_filters(const mx::array&, const mx::array&, const mx::array&, const mx::array&, const MixerFilters&, mx::Stream) {
  fail("[monarch_mix] this build has no CPU kernels");
}

}  // namespace m2bert::ops::cpu
#endif
