#include "m2bert/error.h"
#include "m2bert/ops/kernels/kernel.h"
#include "m2bert/ops/kernels/long_conv.h"

#ifdef M2BERT_CPU_KERNELS
#include <mlx/primitives.h>

#include "m2bert/ops/kernels/encode.h"
#include "m2bert/ops/kernels/long_conv_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops::kernels {

namespace {

[[noreturn]] void no_gpu() { fail("[long_conv] the kernel runs on the CPU alone"); }

FilterRows filter_of(const std::vector<mx::array>& in) {  // u, k, D, (k_rev)
  return {in[1].data<float>(), in.size() > 3 ? in[3].data<float>() : nullptr, in[2].data<float>()};
}

// Inputs: dy, then those of LongConv. Outputs: the gradients of LongConv's inputs.
class LongConvGradient : public mx::Primitive {
 public:
  using Primitive::Primitive;
  const char* name() const override { return "LongConvGradient"; }
  bool is_equivalent(const Primitive&) const override { return true; }
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
    fail("[long_conv] has no second derivative; long_conv_reference has one");
  }

 private:
  template <class T>
  static void dispatch(mx::cpu::CommandEncoder& encoder, const std::vector<mx::array>& in, std::vector<mx::array>& out) {
    const std::vector<mx::array> forward_in(in.begin() + 1, in.end());
    const FilterRowsGradient to{out[1].data<float>(), out.size() > 3 ? out[3].data<float>() : nullptr, out[2].data<float>()};
    encoder.dispatch([dy = in[0].data<T>(), u = in[1].data<T>(), filter = filter_of(forward_in), du = out[0].data<T>(), to,
                      B = in[0].shape(0), L = in[0].shape(1), H = in[0].shape(2)] {
      enter_pool();
      long_conv_backward<T>(u, dy, filter, B, L, H, du, to, threads());
    });
  }
};

// Inputs: u, k, D, (k_rev).
class LongConv : public mx::UnaryPrimitive {
 public:
  using UnaryPrimitive::UnaryPrimitive;
  const char* name() const override { return "LongConv"; }
  bool is_equivalent(const Primitive&) const override { return true; }
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
    std::vector<mx::array> inputs{mx::contiguous(cotangents[0], false, stream())};
    std::vector<mx::Shape> shapes;
    std::vector<mx::Dtype> dtypes;
    for (const auto& a : in) {
      inputs.push_back(a);
      shapes.push_back(a.shape());
      dtypes.push_back(a.dtype());
    }
    const auto all = mx::array::make_arrays(std::move(shapes), dtypes, std::make_shared<LongConvGradient>(stream()), inputs);
    std::vector<mx::array> wanted;
    for (int argument : argnums) wanted.push_back(all[size_t(argument)]);
    return wanted;
  }

 private:
  template <class T>
  static void dispatch(mx::cpu::CommandEncoder& encoder, const std::vector<mx::array>& in, mx::array& out) {
    encoder.dispatch(
        [u = in[0].data<T>(), filter = filter_of(in), y = out.data<T>(), B = out.shape(0), L = out.shape(1), H = out.shape(2)] {
          enter_pool();
          long_conv_forward<T>(u, filter, B, L, H, y, threads());
        });
  }
};

}  // namespace

bool long_conv_takes(const mx::array& u, mx::StreamOrDevice s) {
  return cpu_kernels(s) && u.size() > 0 && u.shape(2) % kChannelBlock == 0 && (u.dtype() == mx::float32 || u.dtype() == mx::bfloat16);
}

mx::array long_conv(const mx::array& u, const mx::array& k, const std::optional<mx::array>& k_rev, const mx::array& D, mx::Stream s) {
  auto plain = [&](const mx::array& a) { return mx::contiguous(mx::astype(a, mx::float32, s), false, s); };
  std::vector<mx::array> inputs{mx::contiguous(u, false, s), plain(k), plain(mx::reshape(D, {u.shape(2)}, s))};
  if (k_rev) inputs.push_back(plain(*k_rev));
  return mx::array(u.shape(), u.dtype(), std::make_shared<LongConv>(s), std::move(inputs));
}

}  // namespace m2bert::ops::kernels

#else

namespace m2bert::ops::kernels {

bool long_conv_takes(const mx::array&, mx::StreamOrDevice) { return false; }
mx::array long_conv(const mx::array&, const mx::array&, const std::optional<mx::array>&, const mx::array&, mx::Stream) {
  fail("[long_conv] this build has no CPU kernels");
}

}  // namespace m2bert::ops::kernels
#endif
