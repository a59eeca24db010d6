#include "m2bert/error.h"
#include "m2bert/ops/kernels/kernel.h"
#include "m2bert/ops/kernels/pointwise.h"

#ifdef M2BERT_CPU_KERNELS
#include <mlx/primitives.h>

#include "m2bert/ops/kernels/encode.h"
#include "m2bert/ops/kernels/pointwise_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops::kernels {

namespace {

[[noreturn]] void no_gpu(const char* op) { fail("[", op, "] the kernel runs on the CPU alone"); }
[[noreturn]] void no_second_derivative(const char* op) { fail("[", op, "] has no second derivative; its _reference has one"); }

// Inputs: x. As a gradient: x and dy.
class Gelu : public mx::UnaryPrimitive {
 public:
  Gelu(mx::Stream s, bool gated, GeluCurve curve, bool gradient = false)
      : UnaryPrimitive(s), gated_(gated), gradient_(gradient), curve_(curve) {}
  const char* name() const override { return gated_ ? "GeluGate" : "Gelu"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const Gelu&>(other);
    return o.gated_ == gated_ && o.gradient_ == gradient_ && o.curve_ == curve_;
  }
  void eval_gpu(const std::vector<mx::array>&, mx::array&) override { no_gpu("gelu"); }
  void eval_cpu(const std::vector<mx::array>& in, mx::array& out) override {
    auto& encoder = encode(stream(), in, out);
    if (out.dtype() == mx::float32) {
      dispatch<float>(encoder, in, out);
    } else {
      dispatch<uint16_t>(encoder, in, out);
    }
  }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>&,
                             const std::vector<mx::array>&) override {
    if (gradient_) no_second_derivative("gelu");
    return {mx::array(in[0].shape(), in[0].dtype(), std::make_shared<Gelu>(stream(), gated_, curve_, true),
                      {in[0], mx::contiguous(cotangents[0], false, stream())})};
  }

 private:
  template <class T>
  void dispatch(mx::cpu::CommandEncoder& encoder, const std::vector<mx::array>& in, mx::array& out) const {
    const auto& rows_of = gradient_ ? in[1] : out;  // [rows, width] of a gate
    encoder.dispatch([x = in[0].data<T>(), dy = gradient_ ? in[1].data<T>() : nullptr, y = out.data<T>(), size = int64_t(rows_of.size()),
                      width = int64_t(rows_of.shape(-1)), gated = gated_, curve = curve_] {
      enter_pool();
      if (gated) {
        dy ? gelu_gate_gradient(x, dy, y, size / width, width, threads()) : gelu_gate_rows(x, y, size / width, width, threads());
      } else {
        dy ? gelu_gradient(x, dy, y, size, curve, threads()) : gelu_values(x, y, size, curve, threads());
      }
    });
  }

  bool gated_, gradient_;
  GeluCurve curve_;
};

// Inputs: those of AddLayerNorm without the bias, dy before the residual. Outputs: the gradients of x (and residual), weight, bias.
class AddLayerNormGradient : public mx::Primitive {
 public:
  AddLayerNormGradient(mx::Stream s, float eps) : Primitive(s), eps_(eps) {}
  const char* name() const override { return "AddLayerNormGradient"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const AddLayerNormGradient&>(other).eps_ == eps_; }
  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override { no_gpu("layer_norm"); }
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
    no_second_derivative("layer_norm");
  }

 private:
  template <class T>
  void dispatch(mx::cpu::CommandEncoder& encoder, const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    encoder.dispatch([x = in[0].data<T>(), w = in[1].data<float>(), dy = in[2].data<T>(),
                      residual = in.size() > 3 ? in[3].data<T>() : nullptr, eps = eps_, ds = out[0].data<T>(), dw = out[1].data<float>(),
                      db = out[2].data<float>(), width = int64_t(in[0].shape(-1)), rows = int64_t(in[0].size()) / in[0].shape(-1)] {
      enter_pool();
      layer_norm_gradient<T>(x, residual, w, eps, dy, ds, dw, db, rows, width, threads());
    });
  }

  float eps_;
};

// x, weight, bias, and the residual where there is one.
class AddLayerNorm : public mx::UnaryPrimitive {
 public:
  AddLayerNorm(mx::Stream s, float eps) : UnaryPrimitive(s), eps_(eps) {}
  const char* name() const override { return "AddLayerNorm"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const AddLayerNorm&>(other).eps_ == eps_; }
  void eval_gpu(const std::vector<mx::array>&, mx::array&) override { no_gpu("layer_norm"); }
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
    std::vector<mx::array> inputs{in[0], in[1], mx::contiguous(cotangents[0], false, stream())};
    if (in.size() > 3) inputs.push_back(in[3]);
    const auto all = mx::array::make_arrays({in[0].shape(), in[1].shape(), in[2].shape()}, {in[0].dtype(), mx::float32, mx::float32},
                                            std::make_shared<AddLayerNormGradient>(stream(), eps_), inputs);
    std::vector<mx::array> wanted;
    for (int argument : argnums) wanted.push_back(all[argument == 3 ? 0 : size_t(argument)]);
    return wanted;
  }

 private:
  template <class T>
  void dispatch(mx::cpu::CommandEncoder& encoder, const std::vector<mx::array>& in, mx::array& out) const {
    encoder.dispatch([x = in[0].data<T>(), w = in[1].data<float>(), b = in[2].data<float>(),
                      residual = in.size() > 3 ? in[3].data<T>() : nullptr, eps = eps_, y = out.data<T>(), width = int64_t(out.shape(-1)),
                      rows = int64_t(out.size()) / out.shape(-1)] {
      enter_pool();
      layer_norm_rows<T>(x, residual, w, b, eps, y, rows, width, threads());
    });
  }

  float eps_;
};

}  // namespace

bool pointwise_takes(const mx::array& x, mx::StreamOrDevice s) {
  return cpu_kernels(s) && x.size() > 0 && (x.dtype() == mx::float32 || x.dtype() == mx::bfloat16);
}

mx::array gelu(const mx::array& x, mx::Stream s) {
  return mx::array(x.shape(), x.dtype(), std::make_shared<Gelu>(s, false, GeluCurve::erf), {mx::contiguous(x, false, s)});
}

mx::array gelu_tanh(const mx::array& x, mx::Stream s) {
  return mx::array(x.shape(), x.dtype(), std::make_shared<Gelu>(s, false, GeluCurve::tanh), {mx::contiguous(x, false, s)});
}

mx::array gelu_gate(const mx::array& x, mx::Stream s) {
  auto shape = x.shape();
  shape.back() /= 2;
  return mx::array(shape, x.dtype(), std::make_shared<Gelu>(s, true, GeluCurve::erf), {mx::contiguous(x, false, s)});
}

mx::array add_layer_norm(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias,
                         float eps, mx::Stream s) {
  auto plain = [&](const mx::array& a) { return mx::contiguous(mx::astype(a, mx::float32, s), false, s); };
  std::vector<mx::array> inputs{mx::contiguous(x, false, s), plain(weight), plain(bias)};
  if (residual) inputs.push_back(mx::contiguous(mx::astype(*residual, x.dtype(), s), false, s));
  return mx::array(x.shape(), x.dtype(), std::make_shared<AddLayerNorm>(s, eps), std::move(inputs));
}

}  // namespace m2bert::ops::kernels

#else

namespace m2bert::ops::kernels {

bool pointwise_takes(const mx::array&, mx::StreamOrDevice) { return false; }
mx::array gelu(const mx::array&, mx::Stream) { fail("[gelu] this build has no CPU kernels"); }
mx::array gelu_tanh(const mx::array&, mx::Stream) { fail("[gelu_tanh] this build has no CPU kernels"); }
mx::array gelu_gate(const mx::array&, mx::Stream) { fail("[gelu_gate] this build has no CPU kernels"); }
mx::array add_layer_norm(const mx::array&, const std::optional<mx::array>&, const mx::array&, const mx::array&, float, mx::Stream) {
  fail("[add_layer_norm] this build has no CPU kernels");
}

}  // namespace m2bert::ops::kernels
#endif
