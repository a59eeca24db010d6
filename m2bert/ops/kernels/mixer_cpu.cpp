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

// k and D, then in this order what is there: k_rev, k2 and D2, k2_rev.
class PrepareMixer : public mx::UnaryPrimitive {
 public:
  PrepareMixer(mx::Stream s, bool reverse, bool residual) : UnaryPrimitive(s), reverse_(reverse), residual_(residual) {}
  const char* name() const override { return "PrepareMixer"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const PrepareMixer&>(other);
    return o.reverse_ == reverse_ && o.residual_ == residual_;
  }
  void eval_gpu(const std::vector<mx::array>&, mx::array&) override { fail("[monarch_mix] the prepared form runs on the CPU alone"); }
  void eval_cpu(const std::vector<mx::array>& in, mx::array& out) override {
    auto& encoder = encode(stream(), in, out);
    size_t next = 2;
    auto take = [&](bool there) -> const float* { return there ? in[next++].data<float>() : nullptr; };
    const float* k_rev = take(reverse_);
    const float* k2 = take(residual_);
    const float* D2 = take(residual_);
    const float* k2_rev = take(residual_ && reverse_);
    encoder.dispatch([k = in[0].data<float>(), D = in[1].data<float>(), k_rev, k2, D2, k2_rev, L = in[0].shape(0), H = in[0].shape(1),
                      prepared = out.data<float>()] { mixer_prepare(k, k_rev, D, k2, k2_rev, D2, L, H, prepared, threads()); });
  }

 private:
  bool reverse_, residual_;
};

// projected, short_weight, short_bias, prepared, and u where there is a residual convolution.
class Mix : public mx::UnaryPrimitive {
 public:
  using UnaryPrimitive::UnaryPrimitive;
  const char* name() const override { return "MonarchMix"; }
  bool is_equivalent(const Primitive&) const override { return true; }
  void eval_gpu(const std::vector<mx::array>&, mx::array&) override { fail("[monarch_mix] the prepared form runs on the CPU alone"); }
  void eval_cpu(const std::vector<mx::array>& in, mx::array& out) override {
    auto& encoder = encode(stream(), in, out);
    if (out.dtype() == mx::float32) {
      dispatch<float>(encoder, in, out);
    } else {
      dispatch<uint16_t>(encoder, in, out);
    }
  }

 private:
  template <class T>
  static void dispatch(mx::cpu::CommandEncoder& encoder, const std::vector<mx::array>& in, mx::array& out) {
    encoder.dispatch([projected = in[0].data<T>(), weight = in[1].data<float>(), bias = in[2].data<float>(), prepared = in[3].data<float>(),
                      u = in.size() > 4 ? in[4].data<T>() : nullptr, B = out.shape(0), L = out.shape(1), H = out.shape(2),
                      y = out.data<T>()] { mixer_forward<T>(projected, u, weight, bias, prepared, B, L, H, y, threads()); });
  }
};

}  // namespace

bool mixer_takes(int H, mx::Dtype dtype, mx::StreamOrDevice s) {
  return cpu_kernels(s) && H % kChannelBlock == 0 && (dtype == mx::float32 || dtype == mx::bfloat16);
}

mx::array prepare_mixer(const MixerFilters& f, mx::Stream s) {
  auto plain = [&](const mx::array& a) { return mx::contiguous(mx::astype(a, mx::float32, s), false, s); };
  std::vector<mx::array> inputs{plain(f.k), plain(f.D)};
  if (f.k_rev) inputs.push_back(plain(*f.k_rev));
  if (f.k2) {
    inputs.push_back(plain(*f.k2));
    inputs.push_back(plain(*f.D2));
    if (f.k_rev) inputs.push_back(plain(*f.k2_rev));
  }
  const size_t size = mixer_prepared_size(f.k.shape(1), f.k.shape(0));
  return mx::array({int(size / (4 * kChannelBlock)), 4 * kChannelBlock}, mx::float32,
                   std::make_shared<PrepareMixer>(s, f.k_rev.has_value(), f.k2.has_value()), std::move(inputs));
}

mx::array mix(const mx::array& projected, const std::optional<mx::array>& u, const mx::array& short_weight, const mx::array& short_bias,
              const mx::array& prepared, mx::Stream s) {
  const int L = projected.shape(1), H = projected.shape(2) / 3;
  require(prepared.size() == mixer_prepared_size(H, L), "[monarch_mix] the prepared filters are for another length or width");
  auto plain = [&](const mx::array& a) { return mx::contiguous(mx::astype(a, mx::float32, s), false, s); };
  std::vector<mx::array> inputs{mx::contiguous(projected, false, s), plain(short_weight), plain(short_bias), prepared};
  if (u) inputs.push_back(mx::contiguous(mx::astype(*u, projected.dtype(), s), false, s));
  return mx::array({projected.shape(0), L, H}, projected.dtype(), std::make_shared<Mix>(s), std::move(inputs));
}

}  // namespace m2bert::ops::kernels

#else

namespace m2bert::ops::kernels {

bool mixer_takes(int, mx::Dtype, mx::StreamOrDevice) { return false; }
mx::array prepare_mixer(const MixerFilters&, mx::Stream) { fail("[monarch_mix] this build has no CPU kernels"); }
mx::array mix(const mx::array&, const std::optional<mx::array>&, const mx::array&, const mx::array&, const mx::array&, mx::Stream) {
  fail("[monarch_mix] this build has no CPU kernels");
}

}  // namespace m2bert::ops::kernels
#endif
